//! Numpy arrays on disk, as far as driving logs need them: float64, float32, int64, little-endian.

use std::path::{Path, PathBuf};

use super::ReadError;
use super::picture::read_file;

/// Longest array file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Most dimensions of an array.
const DIMS_MAX: usize = 8;

/// An array in C order: the last index runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each dimension; empty for a single value.
    pub dims: Vec<usize>,
    /// The values.
    pub data: Data,
}

/// The values of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `<f8`
    F64(Vec<f64>),
    /// `<f4`
    F32(Vec<f32>),
    /// `<i8`
    I64(Vec<i64>),
}

/// Why a numpy file could not be read.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another format, or a part of numpy's that logs do not use.
    #[error("{} is no numpy array that we read: {what}", path.display())]
    Format { path: PathBuf, what: &'static str },
}

/// Reads the numpy array at `path` (format 1 to 3; the name may end in anything).
///
/// # Errors
/// When the file cannot be read, is longer than 1 GiB, or is no array of a type of [`Data`].
pub fn read_npy(path: &Path) -> Result<Array, NpyError> {
    let content = read_file(path, FILE_BYTES_MAX)?;
    parse(&content).map_err(|what| NpyError::Format { path: path.to_owned(), what })
}

fn parse(content: &[u8]) -> Result<Array, &'static str> {
    let head = content.strip_prefix(b"\x93NUMPY").ok_or("it does not start as one")?;
    let cut = "its header is cut off";
    let (header, data) = match *head {
        [1, _, a, b, ref rest @ ..] => {
            rest.split_at_checked(u16::from_le_bytes([a, b]).into()).ok_or(cut)?
        }
        [2 | 3, _, a, b, c, d, ref rest @ ..] => {
            rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize).ok_or(cut)?
        }
        _ => return Err("its version is not 1 to 3"),
    };
    let header = Header::parse(header).ok_or("its header is not that of an array")?;
    let count = header
        .dims
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(dim))
        .ok_or("its shape is too large")?;
    let values = match header.descr {
        "<f8" => Data::F64(values(data, count, f64::from_le_bytes)?),
        "<f4" => Data::F32(values(data, count, f32::from_le_bytes)?),
        "<i8" => Data::I64(values(data, count, i64::from_le_bytes)?),
        _ => return Err("its type is not <f8, <f4 or <i8"),
    };
    let data = match (header.fortran_order, values) {
        (false, values) => values,
        (true, Data::F64(values)) => Data::F64(c_order(&values, &header.dims)),
        (true, Data::F32(values)) => Data::F32(c_order(&values, &header.dims)),
        (true, Data::I64(values)) => Data::I64(c_order(&values, &header.dims)),
    };
    Ok(Array { dims: header.dims, data })
}

/// Exactly `count` values of `N` bytes.
fn values<T, const N: usize>(
    data: &[u8],
    count: usize,
    read: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, &'static str> {
    let (values, rest) = data.as_chunks::<N>();
    if values.len() != count || !rest.is_empty() {
        return Err("its data are not as long as its shape");
    }
    Ok(values.iter().map(|&bytes| read(bytes)).collect())
}

/// The values of an array whose first index ran fastest, the last index fastest.
fn c_order<T: Copy>(values: &[T], dims: &[usize]) -> Vec<T> {
    let mut strides = Vec::with_capacity(dims.len());
    let mut stride = 1;
    for &dim in dims {
        strides.push(stride);
        stride *= dim;
    }
    let from = |mut index: usize| {
        let mut at = 0;
        for (&dim, &stride) in dims.iter().zip(&strides).rev() {
            at += index % dim * stride;
            index /= dim;
        }
        at
    };
    (0..values.len()).map(|index| values[from(index)]).collect()
}

/// The header: a Python dictionary of three keys.
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    dims: Vec<usize>,
}

impl<'a> Header<'a> {
    fn parse(header: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(header).ok()?.trim();
        let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran_order, mut dims) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = rest.strip_prefix('\'')?.split_once('\'')?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => {
                    let (value, after) = value.strip_prefix('\'')?.split_once('\'')?;
                    descr = Some(value);
                    after
                }
                "fortran_order" => {
                    let (value, after) = match value.strip_prefix("True") {
                        Some(after) => (true, after),
                        None => (false, value.strip_prefix("False")?),
                    };
                    fortran_order = Some(value);
                    after
                }
                "shape" => {
                    let (value, after) = value.strip_prefix('(')?.split_once(')')?;
                    dims = Some(parse_dims(value)?);
                    after
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, dims: dims? })
    }
}

fn parse_dims(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    let dims: Vec<usize> =
        text.split(',').map(|dim| dim.trim().parse().ok()).collect::<Option<_>>()?;
    (dims.len() <= DIMS_MAX).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn an_array_is_read_in_c_order() {
        let data: Vec<u8> = [1i64, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_le_bytes()).collect();
        let read = |order: &str| {
            let header =
                format!("{{'descr': '<i8', 'fortran_order': {order}, 'shape': (2, 3), }}   \n");
            parse(&npy(&header, &data)).unwrap()
        };
        assert_eq!(read("False").data, Data::I64(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(read("True").data, Data::I64(vec![1, 3, 5, 2, 4, 6]));
        assert_eq!(read("True").dims, [2, 3]);
    }

    #[test]
    fn no_bytes_of_an_array_panic() {
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }";
        let whole = npy(header, &[0; 8]);
        assert!(parse(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
        for shape in ["(-1,)", "(99999999999, 99999999999)", "(0,)", "(3)", "(2", "2)", "(a,)", ""]
        {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            assert!(parse(&npy(&header, &[0; 8])).is_err(), "{shape}");
        }
        for header in ["", "{", "{}", "{'descr': '|O'}", "{'x': 1}", "{'descr': '>f4',"] {
            assert!(parse(&npy(header, &[0; 8])).is_err(), "{header}");
        }
    }
}
