//! The bytes of ONNX Runtime's adapter files: a FlatBuffers table of named tensors.
//!
//! A reader and a writer for this one table. The reader is strict: every place is checked against the file before it is
//! read, what is to be aligned must be, and nothing is copied but names and dimensions.
//! # Source
//! FlatBuffers' internals (tables, virtual tables, vectors); ONNX Runtime's `adapter_schema.fbs`, format version 1.

use std::collections::BTreeMap;
use std::ops::Range;

/// What stands behind the place of the root.
const IDENTIFIER: [u8; 4] = *b"TORT";
/// The version of the format that is written and read.
const FORMAT_VERSION: i32 = 1;
/// The most parameters that are read: two of every site.
const PARAMETERS_MAX: usize = 1 << 16;
/// The longest name that is read.
const NAME_BYTES_MAX: usize = 1 << 12;
/// The most dimensions that are read.
const DIMS_MAX: usize = 8;
/// What a vector of FlatBuffers can address.
pub(super) const BYTES_MAX: usize = i32::MAX as usize;

/// One tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) dims: Vec<usize>,
    /// ONNX's number of the element.
    pub(super) data_type: i32,
    /// Where its values stand in the file.
    pub(super) range: Range<usize>,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) adapter_version: i32,
    pub(super) model_version: i32,
    pub(super) parameters: BTreeMap<String, Parameter>,
}

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

/// Reads a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Contents, Broken> {
    let flat = Flat(bytes);
    if bytes.get(4..8) != Some(&IDENTIFIER[..]) {
        return Err(Broken { what: "it does not begin with the identifier `TORT`", at: 4 });
    }
    let root = flat.table(flat.follow(0)?)?;
    if root.int(0)? != FORMAT_VERSION {
        return Err(Broken { what: "its format version is not 1", at: root.at });
    }
    let list = root.vector(3, 4)?.ok_or(Broken { what: "it has no parameters", at: root.at })?;
    if list.len() / 4 > PARAMETERS_MAX {
        return Err(Broken { what: "it has more than 65536 parameters", at: list.start });
    }
    let mut parameters = BTreeMap::new();
    for place in list.step_by(4) {
        let table = flat.table(flat.follow(place)?)?;
        let (name, parameter) = table.parameter()?;
        if parameters.insert(name, parameter).is_some() {
            return Err(Broken { what: "a name stands there twice", at: table.at });
        }
    }
    Ok(Contents { adapter_version: root.int(1)?, model_version: root.int(2)?, parameters })
}

/// The bytes of a file.
#[derive(Clone, Copy)]
struct Flat<'b>(&'b [u8]);

/// A table: where it and its virtual table stand, and how long both are.
struct Table<'b> {
    flat: Flat<'b>,
    at: usize,
    bytes: usize,
    fields: Range<usize>,
}

impl<'b> Flat<'b> {
    fn bytes<const N: usize>(self, at: usize) -> Result<[u8; N], Broken> {
        if !at.is_multiple_of(N) {
            return Err(Broken { what: "a value is not aligned", at });
        }
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk());
        found.copied().ok_or(Broken { what: "it ends", at })
    }

    /// Where the offset that stands at `at` leads.
    fn follow(self, at: usize) -> Result<usize, Broken> {
        let offset = u32::from_le_bytes(self.bytes(at)?) as usize;
        let to = at.checked_add(offset).filter(|to| offset > 0 && *to < self.0.len());
        to.ok_or(Broken { what: "an offset leads nowhere", at })
    }

    fn table(self, at: usize) -> Result<Table<'b>, Broken> {
        let wrong = Broken { what: "a table does not fit", at };
        let back = i64::from(i32::from_le_bytes(self.bytes(at)?));
        let place = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let place = place.and_then(|place| usize::try_from(place).ok()).ok_or(wrong)?;
        let length = |at| Ok(usize::from(u16::from_le_bytes(self.bytes(at)?)));
        let fields = length(place)?;
        let bytes = length(place.checked_add(2).ok_or(wrong)?)?;
        let end = place.checked_add(fields).filter(|end| *end <= self.0.len()).ok_or(wrong)?;
        let fits = at.checked_add(bytes).is_some_and(|end| end <= self.0.len());
        if fields < 4 || !fields.is_multiple_of(2) || bytes < 4 || !fits {
            return Err(wrong);
        }
        Ok(Table { flat: self, at, bytes, fields: place.saturating_add(4)..end })
    }
}

impl<'b> Table<'b> {
    /// Where a field of four bytes stands, if it does.
    fn field(&self, slot: usize) -> Result<Option<usize>, Broken> {
        let Some(place) = self.fields.clone().step_by(2).nth(slot) else { return Ok(None) };
        let offset = usize::from(u16::from_le_bytes(self.flat.bytes(place)?));
        if offset == 0 {
            return Ok(None);
        }
        if offset < 4 || offset.saturating_add(4) > self.bytes {
            return Err(Broken { what: "a field is outside its table", at: place });
        }
        Ok(Some(self.at.saturating_add(offset)))
    }

    fn int(&self, slot: usize) -> Result<i32, Broken> {
        let place = self.field(slot)?;
        place.map_or(Ok(0), |place| Ok(i32::from_le_bytes(self.flat.bytes(place)?)))
    }

    /// Where the elements of a vector stand, each of so many bytes.
    fn vector(&self, slot: usize, element: usize) -> Result<Option<Range<usize>>, Broken> {
        let Some(place) = self.field(slot)? else { return Ok(None) };
        let at = self.flat.follow(place)?;
        let count = u32::from_le_bytes(self.flat.bytes(at)?) as usize;
        let start = at.saturating_add(4);
        let end = count.checked_mul(element).and_then(|bytes| start.checked_add(bytes));
        let end = end.filter(|end| *end <= self.flat.0.len());
        Ok(Some(start..end.ok_or(Broken { what: "a vector is longer than the file", at })?))
    }

    fn parameter(&self) -> Result<(String, Parameter), Broken> {
        let lacks = |what| Broken { what, at: self.at };
        let name = self.vector(0, 1)?.ok_or(lacks("a parameter has no name"))?;
        let dims = self.vector(1, 8)?.ok_or(lacks("a parameter has no dimensions"))?;
        let range = self.vector(3, 1)?.ok_or(lacks("a parameter has no values"))?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Broken { what: "a name is longer than 4096 bytes", at: name.start });
        }
        if dims.len() / 8 > DIMS_MAX {
            let what = "a parameter has more than eight dimensions";
            return Err(Broken { what, at: dims.start });
        }
        let text = self.flat.0.get(name.clone()).and_then(|name| str::from_utf8(name).ok());
        let text = text.ok_or(Broken { what: "a name is no UTF-8", at: name.start })?;
        let dims = dims.step_by(8).map(|at| {
            let dim = i64::from_le_bytes(self.flat.bytes(at)?);
            usize::try_from(dim).map_err(|_| Broken { what: "a dimension is negative", at })
        });
        let dims = dims.collect::<Result<_, Broken>>()?;
        Ok((text.to_owned(), Parameter { dims, data_type: self.int(2)?, range }))
    }
}

/// One tensor to write: name, dimensions, float32 values.
pub(super) type Named<'t> = (&'t str, &'t [usize], &'t [f32]);

/// Writes a file; `None` if it would be too long for its offsets.
///
/// Every table stands before what it leads to; elements of eight bytes, and values, begin at multiples of eight.
pub(super) fn write(
    adapter_version: i32,
    model_version: i32,
    tensors: &[Named<'_>],
) -> Option<Vec<u8>> {
    /// ONNX's number of float32.
    const FLOAT: u32 = 1;
    let mut out = Writer(Vec::new());
    let root = out.offset();
    out.0.extend(IDENTIFIER);
    out.table(root);
    for int in [FORMAT_VERSION, adapter_version, model_version] {
        out.u32(int.cast_unsigned());
    }
    let list = out.offset();
    out.vector(list, 4, tensors.len());
    let places: Vec<usize> = tensors.iter().map(|_| out.offset()).collect();
    for (place, (name, dims, values)) in places.into_iter().zip(tensors) {
        out.table(place);
        let [at_name, at_dims] = [(); 2].map(|()| out.offset());
        out.u32(FLOAT);
        let at_values = out.offset();
        out.vector(at_name, 4, name.len());
        out.0.extend(name.as_bytes());
        // A string of FlatBuffers ends with a zero that it does not count.
        out.0.push(0);
        out.vector(at_dims, 8, dims.len());
        out.0.extend(dims.iter().flat_map(|&dim| (dim as u64).to_le_bytes()));
        out.vector(at_values, 8, 4 * values.len());
        out.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        if out.0.len() > BYTES_MAX {
            return None;
        }
    }
    Some(out.0)
}

/// What was written.
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    /// Leaves room for an offset; where it stands.
    fn offset(&mut self) -> usize {
        self.u32(0);
        self.0.len() - 4
    }

    /// The offset at `place` leads to what is written next.
    fn lead(&mut self, place: usize) {
        let offset = (self.0.len() - place) as u32;
        self.0[place..place + 4].copy_from_slice(&offset.to_le_bytes());
    }

    /// A virtual table of four fields of four bytes, and the head of the table behind it.
    fn table(&mut self, place: usize) {
        const VTABLE: [u16; 6] = [12, 20, 4, 8, 12, 16];
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend(VTABLE.iter().flat_map(|entry| entry.to_le_bytes()));
        self.lead(place);
        self.u32(12);
    }

    /// The head of a vector whose elements begin at a multiple of `align`, four at least.
    fn vector(&mut self, place: usize, align: usize, length: usize) {
        self.0.resize((self.0.len() + 4).next_multiple_of(align) - 4, 0);
        self.lead(place);
        self.u32(length as u32);
    }
}
