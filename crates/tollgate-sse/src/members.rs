//! Single members of an object that has been found to be JSON.

use crate::json::{Invalid, Scanner};

/// The values of these members, as JSON text; none of what is no object. Of members with the same
/// key the last one counts.
pub(crate) fn of<'j, const N: usize>(json: &'j str, names: [&str; N]) -> [Option<&'j str>; N] {
    find(json, names).unwrap_or([None; N])
}

fn find<'j, const N: usize>(
    json: &'j str,
    names: [&str; N],
) -> Result<[Option<&'j str>; N], Invalid> {
    let mut found = [None; N];
    let mut scanner = Scanner::new(json);
    if scanner.peek()? != b'{' {
        return Err(Invalid);
    }
    let mut members = scanner.enter();
    while let Some(key) = scanner.member(&mut members)? {
        let value = scanner.skip()?;
        let name = key.name();
        for (found, wanted) in found.iter_mut().zip(names) {
            if *name == *wanted.as_bytes() {
                *found = json.get(value.clone());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_names() {
        let json = r#" {"a":{"b":1},"\u0062":[2],"c":3,"b": "4" } "#;
        assert_eq!(of(json, ["b", "c", "d"]), [Some("\"4\""), Some("3"), None]);
        for other in ["", "[1]", "7", "{\"a\":1", "{\"a\":1,}"] {
            assert_eq!(of(other, ["a"]), [None], "{other}");
        }
    }
}
