//! Values seen as the bytes they are.
#![expect(unsafe_code, reason = "a slice of another type is made from its address")]

/// Numbers whose every bit pattern is a value, so that a buffer may be seen as a run of them.
pub(crate) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for f64 {}
impl Plain for i64 {}
impl Plain for i32 {}
impl Plain for u8 {}

/// The same values as bytes.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: every byte of a `Plain` value is initialised, and any address is aligned for bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
