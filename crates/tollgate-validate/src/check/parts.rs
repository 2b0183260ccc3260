//! Content in parts: texts, images, audio, files.

use std::ops::Range;

use tollgate_core::{ImageDetail, InputKind};

use super::{Check, Scan, facts::Piece, leaves::Unknown, role::Role};
use crate::{
    errors,
    json::{Text, Value},
    path::Path,
};

/// As the API lists them.
const TYPES: &[&str] = &[
    "text",
    "image_url",
    "input_audio",
    "refusal",
    "audio",
    "file",
];

/// How closely an image is looked at; the newest models take it as it is.
const DETAILS: &[&str] = &["auto", "low", "high", "original"];

/// Where each type of part stands first in a content, in the order of [`TYPES`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartKinds([Option<usize>; 6]);

impl<'j> Check<'j, '_> {
    /// The parts of a content, whose array has just been opened; says how many there are.
    pub(super) fn parts(&mut self, path: &Path<'_>, kinds: &mut PartKinds) -> Scan<usize> {
        let mut length = 0;
        self.rank.in_part = true;
        while self.scan.next_item()? {
            let path = path.index(length);
            let value = self.scan.value()?;
            if self.object(&path, value)? {
                let kind = self.part(&path)?;
                let place = TYPES.iter().position(|name| Some(*name) == kind);
                if let Some(first) = place.and_then(|place| kinds.0.get_mut(place)) {
                    first.get_or_insert(length);
                }
            }
            length += 1;
        }
        self.rank.in_part = false;
        Ok(length)
    }

    fn part(&mut self, path: &Path<'_>) -> Scan<Option<&'static str>> {
        let mark = self.put_off.len();
        let mut kind = None;
        let seen = self.members(
            path,
            &[
                "type",
                "text",
                "image_url",
                "input_audio",
                "refusal",
                "file",
            ],
            Unknown::Pass,
            |check, name, path, value| match kind {
                _ if name == "type" => {
                    kind = check.choice(path, value, TYPES)?;
                    Ok(())
                }
                None => check.put_off(name, value),
                Some(kind) if kind == name => check.part_member(path, name, value),
                Some(_) => check.finish(value),
            },
        )?;
        self.require(path, &seen, "type");
        self.catch_up(mark, |check, name, value| match kind {
            Some(kind) if kind == name => check.part_member(&path.key(name), name, value),
            _ => check.finish(value),
        })?;
        match kind {
            Some("audio") => self.opaque_part(path),
            Some(kind) => {
                self.require(path, &seen, kind);
                match kind {
                    "image_url" if self.found.first_image.is_none() => {
                        self.found.first_image = Some(path.key("type").dotted());
                    }
                    "input_audio" => self.opaque_part(path),
                    "file" => self.found.opaque_parts += 1,
                    _ => {}
                }
            }
            None => {}
        }
        Ok(kind)
    }

    fn opaque_part(&mut self, path: &Path<'_>) {
        self.found.opaque_parts += 1;
        if self.found.first_audio.is_none() {
            self.found.first_audio = Some(path.key("type").dotted());
        }
    }

    /// The member that a part has by its type, and is called like it.
    fn part_member(&mut self, path: &Path<'_>, kind: &str, value: Value<'j>) -> Scan {
        match kind {
            "image_url" => self.image(path, value),
            "input_audio" => self.input_audio(path, value),
            "file" => self.file(path, value),
            _ => {
                let text = self.string(path, value)?;
                let piece = text.map(|text| Piece::of(InputKind::Content, text));
                self.found.pieces.extend(piece);
                Ok(())
            }
        }
    }

    fn image(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let mut place: Option<Range<usize>> = None;
        let mut detail = ImageDetail::Auto;
        let seen = self.members(
            path,
            &["url", "detail"],
            Unknown::Pass,
            |check, name, path, value| {
                match (name, value) {
                    ("url", _) => {
                        if let Some(url) = check.string(path, value)? {
                            place = Some(url.range());
                            if !is_image_url(url) {
                                check.refuse_as(check.rule_rank(), || errors::image_url(path));
                            }
                        }
                    }
                    (_, Value::Null) => {}
                    _ => {
                        detail = match check.choice(path, value, DETAILS)? {
                            Some("low") => ImageDetail::Low,
                            Some("high" | "original") => ImageDetail::High,
                            _ => ImageDetail::Auto,
                        };
                    }
                }
                Ok(())
            },
        )?;
        self.require(path, &seen, "url");
        self.found.images.extend(place.map(|place| (place, detail)));
        Ok(())
    }

    fn input_audio(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let seen = self.members(
            path,
            &["data", "format"],
            Unknown::Pass,
            |check, name, path, value| match name {
                "data" => check.string(path, value).map(|_| ()),
                _ => check.choice(path, value, &["wav", "mp3"]).map(|_| ()),
            },
        )?;
        self.require(path, &seen, "data");
        self.require(path, &seen, "format");
        Ok(())
    }

    fn file(&mut self, path: &Path<'_>, value: Value<'j>) -> Scan {
        if !self.object(path, value)? {
            return Ok(());
        }
        let mut has = [false; 3];
        self.members(
            path,
            &["file_id", "filename", "file_data"],
            Unknown::Pass,
            |check, name, path, value| {
                let place = match name {
                    "file_id" => 0,
                    "filename" => 1,
                    _ => 2,
                };
                has[place] = !matches!(value, Value::Null);
                check.optional_string(path, value).map(|_| ())
            },
        )?;
        // The API asks for the id whatever else is missing.
        if !matches!(has, [true, ..] | [_, true, true]) {
            self.refuse(|| errors::missing(&path.key("file_id")));
        }
        Ok(())
    }

    /// Parts are read before the role is known, as some callers write content first.
    pub(super) fn role_and_parts(&mut self, message: &Path<'_>, role: Role, kinds: &PartKinds) {
        let supported: &[&str] = match role {
            Role::Assistant => &["text", "refusal", "audio"],
            Role::User => &["text", "image_url", "input_audio", "file"],
            _ => &["text"],
        };
        let parts = TYPES.iter().zip(kinds.0);
        let places = parts.filter_map(|(kind, first)| Some((first?, *kind)));
        let misplaced = places.filter(|(_, kind)| !supported.contains(kind));
        // The rule about images is none of the schema's.
        if misplaced.clone().any(|(_, kind)| kind == "image_url") {
            self.refuse_as(self.rule_rank(), || {
                errors::image_outside_user(message, role.name())
            });
        }
        if let Some((first, kind)) = misplaced.filter(|(_, kind)| *kind != "image_url").min() {
            let content = message.key("content");
            let part = content.index(first);
            self.refuse(|| errors::not_one_of(&part.key("type"), kind, supported));
        }
    }
}

/// An http or https URL with a host, or a data URL with base64. What it leads to is the upstream's
/// business.
fn is_image_url(url: Text<'_>) -> bool {
    let behind = |scheme: &str| {
        let mut chars = url.chars();
        let mut scheme = scheme.chars();
        let fits = scheme.all(|s| chars.next().is_some_and(|c| c.eq_ignore_ascii_case(&s)));
        fits.then_some(chars)
    };
    match behind("http://").or_else(|| behind("https://")) {
        Some(mut rest) => rest.next().is_some_and(|c| !matches!(c, '/' | '?' | '#')),
        None => behind("data:").is_some() && has_base64_head(url),
    }
}

/// Whether `base64` stands between the first comma and the last semicolon before it.
fn has_base64_head(url: Text<'_>) -> bool {
    let mut expected = None;
    for c in url.chars().take(MAX_MEDIA_TYPE_CHARS) {
        expected = match (c, expected) {
            (',', Some("")) => return true,
            (',', _) => return false,
            (';', _) => Some("base64"),
            (c, Some(rest)) => {
                let mut rest = rest.chars();
                let fits = rest.next().is_some_and(|b| b.eq_ignore_ascii_case(&c));
                fits.then_some(rest.as_str())
            }
            (_, None) => None,
        };
    }
    false
}

const MAX_MEDIA_TYPE_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_at_a_url() {
        for (url, is_one) in [
            ("https://x.org/a.png", true),
            ("HTTP://[::1]:80", true),
            ("https://b\u{fc}cher.de", true),
            ("data:image/png;base64,", true),
            ("DATA:;charset=x;BASE64,iVBO", true),
            ("", false),
            ("iVBO", false),
            ("https:", false),
            ("https://", false),
            ("http:///a.png", false),
            ("https://?a", false),
            ("ftp://x.org/a.png", false),
            ("data:image/png,iVBO", false),
            ("data:image/png;base64", false),
        ] {
            assert_eq!(is_image_url(Text::new(url, 0, false)), is_one, "{url}");
        }
    }
}
