//! The size in the first bytes of PNG, JPEG, GIF and WebP files.

type Size = Option<(u32, u32)>;

/// The size of the image that these bytes begin; reads no more of them than it must.
pub(super) fn size(bytes: &mut impl Iterator<Item = u8>) -> Size {
    match read::<2>(bytes)? {
        [0x89, b'P'] => png(bytes),
        [0xff, 0xd8] => jpeg(bytes),
        [b'G', b'I'] => gif(bytes),
        [b'R', b'I'] => webp(bytes),
        _ => None,
    }
}

fn png(bytes: &mut impl Iterator<Item = u8>) -> Size {
    let [signature @ .., _, _, _, _, b'I', b'H', b'D', b'R'] = read::<14>(bytes)? else {
        return None;
    };
    if signature != *b"NG\r\n\x1a\n" {
        return None;
    }
    let width = u32::from_be_bytes(read(bytes)?);
    let height = u32::from_be_bytes(read(bytes)?);
    Some((width, height))
}

fn gif(bytes: &mut impl Iterator<Item = u8>) -> Size {
    if !matches!(&read::<4>(bytes)?, b"F87a" | b"F89a") {
        return None;
    }
    let width = u16::from_le_bytes(read(bytes)?);
    let height = u16::from_le_bytes(read(bytes)?);
    Some((width.into(), height.into()))
}

fn webp(bytes: &mut impl Iterator<Item = u8>) -> Size {
    let [
        b'F',
        b'F',
        _,
        _,
        _,
        _,
        b'W',
        b'E',
        b'B',
        b'P',
        kind @ ..,
        _,
        _,
        _,
        _,
    ] = read::<18>(bytes)?
    else {
        return None;
    };
    match &kind {
        b"VP8 " => {
            let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = read::<10>(bytes)? else {
                return None;
            };
            // The upper two bits are a hint for scaling.
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((side(w0, w1), side(h0, h1)))
        }
        b"VP8L" => {
            let [0x2f, sides @ ..] = read::<5>(bytes)? else {
                return None;
            };
            let sides = u32::from_le_bytes(sides);
            Some(((sides & 0x3fff) + 1, (sides >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let [_, _, _, _, w0, w1, w2, h0, h1, h2] = read::<10>(bytes)?;
            let side = |bytes: [u8; 3]| {
                let [a, b, c] = bytes;
                u32::from_le_bytes([a, b, c, 0]) + 1
            };
            Some((side([w0, w1, w2]), side([h0, h1, h2])))
        }
        _ => None,
    }
}

/// Walks the segments up to the first start of frame.
fn jpeg(bytes: &mut impl Iterator<Item = u8>) -> Size {
    loop {
        let [0xff] = read(bytes)? else {
            return None;
        };
        // Any number of fill bytes may precede a marker.
        let marker = bytes.find(|byte| *byte != 0xff)?;
        match marker {
            // Markers without a segment.
            0x01 | 0xd0..=0xd7 => continue,
            // The picture itself, or its end, without a frame before it.
            0xd8..=0xda => return None,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(read(bytes)?));
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let [_precision] = read(bytes)?;
            let height = u16::from_be_bytes(read(bytes)?);
            let width = u16::from_be_bytes(read(bytes)?);
            return Some((width.into(), height.into()));
        }
        let content = length.checked_sub(2)?;
        if content > 0 {
            bytes.nth(content - 1)?;
        }
    }
}

fn read<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> Option<[u8; N]> {
    let mut array = [0; N];
    for place in &mut array {
        *place = bytes.next()?;
    }
    Some(array)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(parts: &[&[u8]]) -> Size {
        size(&mut parts.concat().into_iter())
    }

    #[test]
    fn png_says_it_in_its_first_chunk() {
        let sides = [0, 1, 0, 0, 0, 0, 0x12, 0x34];
        assert_eq!(
            of(&[b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &sides]),
            Some((65_536, 0x1234))
        );
        assert_eq!(of(&[b"\x89PNG\r\n\x1a\n\0\0\0\rIDAT", &sides]), None);
        assert_eq!(of(&[b"\x89PNG\n\n\x1a\n\0\0\0\rIHDR", &sides]), None);
    }

    #[test]
    fn gif_says_it_at_once() {
        assert_eq!(of(&[b"GIF89a", &[0x80, 2, 0xe0, 1]]), Some((640, 480)));
        assert_eq!(of(&[b"GIF87a", &[1, 0, 1, 0]]), Some((1, 1)));
        assert_eq!(of(&[b"GIF88a", &[1, 0, 1, 0]]), None);
    }

    #[test]
    fn webp_says_it_in_three_ways() {
        let riff = b"RIFF\x10\0\0\0WEBP";
        let lossy = [0, 0, 0, 0x9d, 1, 0x2a, 0x80, 0x42, 0xe0, 1];
        assert_eq!(of(&[riff, b"VP8 \0\0\0\0", &lossy]), Some((640, 480)));
        // 640 - 1 and 480 - 1 in fourteen bits each.
        let sides = (639_u32 | 479 << 14).to_le_bytes();
        assert_eq!(of(&[riff, b"VP8L\0\0\0\0\x2f", &sides]), Some((640, 480)));
        let extended = [0, 0, 0, 0, 0x7f, 2, 0, 0xdf, 1, 0];
        assert_eq!(of(&[riff, b"VP8X\x0a\0\0\0", &extended]), Some((640, 480)));
        assert_eq!(of(&[riff, b"VP9 \0\0\0\0", &lossy]), None);
    }

    #[test]
    fn jpeg_says_it_in_its_frame() {
        let exif = [&b"\xff\xd8\xff\xe1\x01\x02"[..], &[b'x'; 256]].concat();
        let frame = b"\xff\xff\xc2\0\x11\x08\x01\xe0\x02\x80\x03";
        assert_eq!(of(&[&exif, frame]), Some((640, 480)));
        // A Huffman table is no frame, and a scan comes too late for one.
        assert_eq!(of(&[b"\xff\xd8\xff\xc4\0\x02", frame]), Some((640, 480)));
        assert_eq!(of(&[b"\xff\xd8\xff\xda\0\x02", frame]), None);
        assert_eq!(of(&[b"\xff\xd8\xff\xe1\0\x01", frame]), None);
        assert_eq!(of(&[b"\xff\xd8\xff\xe1\xff\xff", frame]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end(start in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let start: &[u8] = [&b"\xff\xd8\xff"[..], b"\x89P", b"RIFF", b""][start];
            of(&[start, &bytes]);
        }
    }
}
