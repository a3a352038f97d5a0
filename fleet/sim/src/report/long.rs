//! `windows.parquet`: every figure of every run in long form, for a notebook.
//!
//! One row a method, seed, window, road and kind. `kind` is `driven`, `listed`, `unseen` (skill of the fleet's adapter on a road
//! of that kind), `own` (skill of the personal adapter of who drives the road), or, where `road` is null, what the window has as a
//! whole: `utility`, `present`, `bytes_up`, `bytes_down`, `evaluations`, `steps`, and `also.` and a name for what a method tells.
//! Figures of a whole run stand in its last window: `regret`, `windows_to_recover`, and `lifelong.` and a name.

use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::special::by_record;
use crate::record::{Head, Record, RoadKind, Row};

const SCHEMA: &str = "message windows {
    REQUIRED BYTE_ARRAY method (STRING);
    REQUIRED INT64 seed (INTEGER(64, false));
    REQUIRED INT32 window (INTEGER(32, false));
    OPTIONAL BYTE_ARRAY road (STRING);
    REQUIRED BYTE_ARRAY kind (STRING);
    REQUIRED DOUBLE value;
}";

/// Columns of the runs, as they are written.
#[derive(Default)]
struct Columns {
    method: Vec<ByteArray>,
    seed: Vec<i64>,
    window: Vec<i32>,
    /// Of rows that have one.
    road: Vec<ByteArray>,
    /// 1 for a row that has a road.
    has_road: Vec<i16>,
    kind: Vec<ByteArray>,
    value: Vec<f64>,
}

pub(super) fn bytes(records: &[Record]) -> Result<Vec<u8>, ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_created_by("shoal".to_owned()).build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties))?;
    for (record, figures) in records.iter().zip(by_record(records)) {
        let mut columns = columns(record);
        for (kind, value) in figures {
            let last = record.rows.last();
            last.iter().for_each(|row| columns.push(&record.head, row, None, kind, value));
        }
        let mut group = writer.next_row_group()?;
        columns.write(&mut group)?;
        group.close()?;
    }
    writer.close()?;
    Ok(file)
}

fn columns(record: &Record) -> Columns {
    let mut columns = Columns::default();
    for row in &record.rows {
        for (road, skill) in &row.skill {
            let kind = match record.head.roads.get(road) {
                Some(RoadKind::Driven(_)) => "driven",
                Some(RoadKind::Listed) => "listed",
                Some(RoadKind::Unseen) => "unseen",
                None => continue,
            };
            columns.push(&record.head, row, Some(road), kind, *skill);
        }
        for (road, skill) in &row.own {
            columns.push(&record.head, row, Some(road), "own", *skill);
        }
        for (kind, value) in [
            ("utility", row.utility),
            ("present", f64::from(row.present)),
            ("bytes_up", row.bytes.up),
            ("bytes_down", row.bytes.down),
            ("evaluations", row.evaluations as f64),
            ("steps", row.steps as f64),
        ] {
            columns.push(&record.head, row, None, kind, value);
        }
        for (name, value) in &row.also {
            columns.push(&record.head, row, None, &format!("also.{name}"), *value);
        }
    }
    columns
}

impl Columns {
    fn push(&mut self, head: &Head, row: &Row, road: Option<&str>, kind: &str, value: f64) {
        self.method.push(head.method.as_str().into());
        // Unsigned columns are kept as the signed number of the same bits.
        self.seed.push(head.seed.cast_signed());
        self.window.push(row.window.cast_signed());
        self.has_road.push(i16::from(road.is_some()));
        self.road.extend(road.map(ByteArray::from));
        self.kind.push(kind.into());
        self.value.push(value);
    }

    fn write(
        &self,
        group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    ) -> Result<(), ParquetError> {
        let mut at = 0;
        while let Some(mut column) = group.next_column()? {
            match at {
                0 => drop(column.typed::<ByteArrayType>().write_batch(&self.method, None, None)?),
                1 => drop(column.typed::<Int64Type>().write_batch(&self.seed, None, None)?),
                2 => drop(column.typed::<Int32Type>().write_batch(&self.window, None, None)?),
                3 => {
                    let column = column.typed::<ByteArrayType>();
                    column.write_batch(&self.road, Some(&self.has_road), None)?;
                }
                4 => drop(column.typed::<ByteArrayType>().write_batch(&self.kind, None, None)?),
                _ => drop(column.typed::<DoubleType>().write_batch(&self.value, None, None)?),
            }
            column.close()?;
            at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::{Field, RowAccessor as _};

    use super::*;
    use crate::record::{Changes, UpDown};

    fn record(seed: u64) -> Record {
        let roads = [("a".to_owned(), RoadKind::Driven(0)), ("b".to_owned(), RoadKind::Unseen)];
        let head = Head {
            schema: 1,
            method: "swarm".to_owned(),
            seed,
            vehicles: 1,
            windows: 0,
            engine: "none".to_owned(),
            config: "00".to_owned(),
            model: None,
            values: 1,
            roads: roads.into(),
            changes: Changes::default(),
        };
        let row = Row {
            skill: [("a".to_owned(), 0.25), ("b".to_owned(), -1.5)].into(),
            own: [("a".to_owned(), 0.5)].into(),
            bytes: UpDown { up: 7.0, down: 9.0 },
            also: [("dropped".to_owned(), 3.0)].into(),
            ..Row::default()
        };
        Record { head, rows: vec![row] }
    }

    #[test]
    fn every_figure_is_read_back_with_its_type() {
        let file = bytes(&[record(1), record(u64::MAX)]).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2 * 10);
        let has = |seed: u64, road: Field, kind: &str, value: f64| {
            rows.iter().any(|row| {
                let fields: Vec<&Field> =
                    row.get_column_iter().map(|(_name, field)| field).collect();
                fields[0] == &Field::Str("swarm".to_owned())
                    && row.get_ulong(1).unwrap() == seed
                    && row.get_uint(2).unwrap() == 0
                    && fields[3] == &road
                    && row.get_string(4).unwrap() == kind
                    && row.get_double(5).unwrap() == value
            })
        };
        assert!(has(1, Field::Str("a".to_owned()), "driven", 0.25));
        assert!(has(1, Field::Str("b".to_owned()), "unseen", -1.5));
        assert!(has(1, Field::Str("a".to_owned()), "own", 0.5));
        assert!(has(u64::MAX, Field::Null, "bytes_down", 9.0));
        assert!(has(u64::MAX, Field::Null, "also.dropped", 3.0));
    }

    #[test]
    fn the_same_runs_give_the_same_file() {
        assert_eq!(bytes(&[record(1)]).unwrap(), bytes(&[record(1)]).unwrap());
    }
}
