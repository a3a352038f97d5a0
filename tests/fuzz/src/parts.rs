//! Inputs of several parts.

/// The bytes in parts, each behind a u16 of its length; the last ends where they end.
pub(crate) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        bytes = rest;
        Some(part)
    })
}

/// A file that parts were written over, each at the place of its first four bytes; one without more ends the file there.
pub(crate) fn written_over(whole: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut file = whole.to_vec();
    for part in parts(bytes) {
        let Some((place, over)) = part.split_first_chunk() else { continue };
        let place = u32::from_le_bytes(*place) as usize % (whole.len() + 1);
        if over.is_empty() {
            file.truncate(place);
        } else {
            let end = place + over.len();
            file.resize(file.len().max(end), 0);
            file[place..end].copy_from_slice(over);
        }
    }
    file
}
