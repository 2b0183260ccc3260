use super::header;

/// The pixels of the image in a base64 data URL: `(width, height)`.
///
/// The URL may have the escapes of a JSON string. Only the header of PNG, JPEG, GIF and WebP is
/// decoded, whatever media type is claimed; `None` for everything else, URLs of the web included.
/// The work is bounded: a JPEG that announces its size behind more than 64 KiB has none.
#[must_use]
pub fn image_size(url: &[u8]) -> Option<(u32, u32)> {
    image_size_within(url, &mut { MOST_HEADER })
}

/// The same, for one of several images that may have `budget` bytes of header together.
pub(crate) fn image_size_within(url: &[u8], budget: &mut usize) -> Option<(u32, u32)> {
    let mut bytes = Unescaped(url);
    // The media type and its parameters, up to the comma.
    let mut head = Vec::with_capacity(64);
    loop {
        match bytes.next()? {
            b',' => break,
            byte if head.len() < MOST_MEDIA_TYPE => head.push(byte.to_ascii_lowercase()),
            _ => return None,
        }
    }
    if !head.starts_with(b"data:") || !head.ends_with(b";base64") {
        return None;
    }
    let cap = (*budget).min(MOST_HEADER);
    let mut decoded = Base64 {
        chars: bytes,
        bits: 0,
        held: 0,
        left: cap,
    };
    let size = header::size(&mut decoded);
    *budget -= cap - decoded.left;
    size.filter(|(width, height)| *width > 0 && *height > 0)
}

/// Decoded bytes of one image, and by default of all images, that are looked at.
const MOST_HEADER: usize = 64 << 10;
const MOST_MEDIA_TYPE: usize = 256;

/// The inside of a JSON string without its escapes; those of characters beyond ASCII end it, for
/// they have no place in a data URL.
struct Unescaped<'a>(&'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if *first != b'\\' {
            self.0 = rest;
            return Some(*first);
        }
        let (escape, rest) = rest.split_first()?;
        let (byte, rest) = match escape {
            b'"' | b'\\' | b'/' => (*escape, rest),
            b'n' => (b'\n', rest),
            b'r' => (b'\r', rest),
            b't' => (b'\t', rest),
            b'u' => {
                let (digits, rest) = rest.split_at_checked(4)?;
                let digits = std::str::from_utf8(digits).ok()?;
                (
                    u8::from_str_radix(digits.strip_prefix("00")?, 16).ok()?,
                    rest,
                )
            }
            _ => return None,
        };
        self.0 = rest;
        Some(byte)
    }
}

/// Decodes base64 of either alphabet as far as `left` allows; line ends are skipped.
struct Base64<'a> {
    chars: Unescaped<'a>,
    bits: u32,
    held: u32,
    left: usize,
}

impl Iterator for Base64<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        while self.held < 8 {
            let six = match self.chars.next()? {
                upper @ b'A'..=b'Z' => upper - b'A',
                lower @ b'a'..=b'z' => lower - b'a' + 26,
                digit @ b'0'..=b'9' => digit - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'\r' | b'\n' => {
                    // Skipped bytes are work, too.
                    self.left = self.left.checked_sub(1)?;
                    continue;
                }
                _ => return None,
            };
            self.bits = self.bits << 6 | u32::from(six);
            self.held += 6;
        }
        self.held -= 8;
        Some((self.bits >> self.held & 0xff) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first bytes of a PNG of 3 × 2 pixels.
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAE";

    #[test]
    fn a_size_is_read_through_escapes() {
        for url in [
            format!("data:image/png;base64,{PNG}"),
            format!(r"data:image\/png;base64,{PNG}"),
            format!(r"data:image\u002fpng;charset=x;BASE64\u002c{PNG}"),
            format!(
                "DATA:application/x;base64,{}",
                PNG.replace("UgAAA", r"UgA\nAA\r\n")
            ),
            format!("data:;base64,{PNG}!!!"),
        ] {
            assert_eq!(image_size(url.as_bytes()), Some((3, 2)), "{url}");
        }
    }

    #[test]
    fn what_is_no_image_has_no_size() {
        for url in [
            "",
            "data:",
            "data:image/png;base64,",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:image/png,iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAE",
            "https://images.example.org/a.png?x=;base64,iVBORw0KGgo",
            "data:image/png;base64,\\",
            "data:image/png;base64,\\u00",
            "data:image/png;base64,\\u4e2d",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAAAAAACCAIAAAASFvFN",
        ] {
            assert_eq!(image_size(url.as_bytes()), None, "{url}");
        }
    }

    #[test]
    fn a_long_prelude_is_given_up() {
        let endless = format!("data:{};base64,{PNG}", "a".repeat(1 << 20));
        assert_eq!(image_size(endless.as_bytes()), None);
        let blank = format!("data:;base64,{}{PNG}", "\n".repeat(1 << 20));
        assert_eq!(image_size(blank.as_bytes()), None);
    }

    #[test]
    fn images_share_a_budget() {
        let url = format!("data:image/png;base64,{PNG}");
        let mut budget = 40;
        assert_eq!(image_size_within(url.as_bytes(), &mut budget), Some((3, 2)));
        assert_eq!(budget, 16);
        assert_eq!(image_size_within(url.as_bytes(), &mut budget), None);
        assert_eq!(budget, 0);
    }
}
