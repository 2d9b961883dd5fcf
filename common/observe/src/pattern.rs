//! The bytes a client sends: each one tells which connection it belongs to and at which offset.
//!
//! Invariant: `fill` is a pure function of (connection, offset), and any 16 of its bytes can be located again. So a
//! wrong byte is not just wrong: it was lost, repeated, re-ordered, or is another connection's.

const WORD: u64 = 8;
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
// The inverse of ODD modulo 2^64, by Newton's iteration.
const ODD_INVERSE: u64 = {
    let mut inverse = ODD;
    let mut i = 0;
    while i < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(ODD.wrapping_mul(inverse)));
        i += 1;
    }
    inverse
};
const OFFSET_BITS: u32 = 40;
/// So that no stream begins with a word of zeros, which memory that was never written looks like. It is chosen so that
/// the first byte of each stream is zero all the same: a server that takes bytes for text stops there at once.
const SEED: u64 = 0xD1B5_4A32_D192_ED1E;

#[inline]
fn word(connection: u32, index: u64) -> [u8; 8] {
    let mut mixed = ((u64::from(connection) << OFFSET_BITS | index) ^ SEED).wrapping_mul(ODD);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(ODD).to_le_bytes()
}

fn unmix(bytes: [u8; 8]) -> (u32, u64) {
    let mut mixed = u64::from_le_bytes(bytes).wrapping_mul(ODD_INVERSE);
    mixed ^= mixed >> 32;
    let value = mixed.wrapping_mul(ODD_INVERSE) ^ SEED;
    ((value >> OFFSET_BITS) as u32, value & ((1 << OFFSET_BITS) - 1))
}

/// Writes the bytes of `connection`'s stream that start at `offset`.
pub fn fill(connection: u32, offset: u64, out: &mut [u8]) {
    let skip = (offset % WORD) as usize;
    let (head, rest) = out.split_at_mut(out.len().min((8 - skip) % 8));
    head.copy_from_slice(&word(connection, offset / WORD)[skip..][..head.len()]);
    let (words, tail) = rest.as_chunks_mut::<8>();
    let mut index = offset.div_ceil(WORD);
    for bytes in words {
        *bytes = word(connection, index);
        index += 1;
    }
    tail.copy_from_slice(&word(connection, index)[..tail.len()]);
}

/// The position of the first byte of `got` that is not what `connection` sent at `offset`.
pub fn first_difference(connection: u32, offset: u64, got: &[u8]) -> Option<usize> {
    let mut expected = [0; 4096];
    for (i, chunk) in got.chunks(expected.len()).enumerate() {
        let start = i * expected.len();
        let expected = &mut expected[..chunk.len()];
        fill(connection, offset + start as u64, expected);
        if chunk != expected {
            return chunk.iter().zip(expected).position(|(a, b)| a != b).map(|at| start + at);
        }
    }
    None
}

/// Which connection and offset these bytes come from, if they are of this pattern at all. Needs 16 bytes or more.
pub fn locate(bytes: &[u8]) -> Option<(u32, u64)> {
    for shift in 0..8.min(bytes.len()) {
        let Some(first) = bytes.get(shift..shift + 8) else { break };
        let (connection, index) = unmix(first.try_into().expect("8 bytes"));
        let start = (index * WORD).checked_sub(shift as u64);
        // One word of noise decodes to something too; the bytes around it must agree.
        if let Some(offset) = start {
            let check = &bytes[..bytes.len().min(16)];
            if check.len() >= 16 && first_difference(connection, offset, check).is_none() {
                return Some((connection, offset));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_is_the_same_bytes_as_the_whole_stream() {
        let mut whole = vec![0; 300];
        fill(7, 0, &mut whole);
        for offset in 0..40 {
            for len in 0..40 {
                let mut part = vec![0; len];
                fill(7, offset as u64, &mut part);
                assert_eq!(part, whole[offset..offset + len], "offset {offset}, {len} bytes");
            }
        }
    }

    #[test]
    fn the_first_byte_of_each_stream_is_zero_and_the_next_ones_are_not() {
        for connection in [0, 1, 2, 999] {
            let mut bytes = [0; 3];
            fill(connection, 0, &mut bytes);
            assert_eq!(bytes.map(|byte| byte == 0), [true, false, false], "c{connection}: {bytes:?}");
        }
    }

    #[test]
    fn sixteen_bytes_tell_where_they_are_from() {
        for (connection, offset) in [(0, 0), (3, 1), (9999, 64 << 20), (12, 4097)] {
            let mut bytes = [0; 23];
            fill(connection, offset, &mut bytes);
            assert_eq!(locate(&bytes), Some((connection, offset)));
        }
        assert_eq!(locate(&[0; 32]), None);
        assert_eq!(locate(b"HTTP/1.1 400 Bad Request\r\n"), None);
    }

    #[test]
    fn a_difference_is_found_at_its_place() {
        let mut bytes = vec![0; 10_000];
        fill(1, 5, &mut bytes);
        assert_eq!(first_difference(1, 5, &bytes), None);
        bytes[9_001] ^= 1;
        assert_eq!(first_difference(1, 5, &bytes), Some(9_001));
    }
}
