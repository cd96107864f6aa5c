//! Where a page ends. Opaque to clients: base64url of what the list goes on behind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::problem::Problem;

/// The longest cursor that is read.
const BYTES_MAX: usize = 512;

/// The cursor of a page that ends with `key`; `kind` keeps cursors of different lists apart.
pub(super) fn write(kind: &str, key: &str) -> String {
    BASE64.encode(format!("{kind}:{key}"))
}

/// What [`write`] was given.
pub(super) fn read(kind: &str, cursor: &str) -> Result<String, Problem> {
    let foreign = || Problem::bad_request("cursor: not one that this list gave");
    if cursor.len() > BYTES_MAX {
        return Err(foreign());
    }
    let text = BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(foreign)?;
    let key = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')).ok_or_else(foreign)?;
    Ok(key.to_owned())
}

/// How many rows a page has: what was asked for, within what may be.
pub(super) fn page_size(asked: Option<u64>, default: usize, max: usize) -> Result<usize, Problem> {
    let size = asked.map_or(default.min(max), |asked| usize::try_from(asked).unwrap_or(usize::MAX));
    if size == 0 || size > max {
        return Err(Problem::bad_request(format!("limit: a page has 1 to {max} rows (http.page_max)")));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_the_list_that_gave_it_only() {
        let cursor = write("letters", "01ARZ");
        assert_eq!(read("letters", &cursor).ok().as_deref(), Some("01ARZ"));
        for (kind, cursor) in
            [("groups", cursor.as_str()), ("letters", "no base64!"), ("letters", ""), ("letters", &"a".repeat(600))]
        {
            assert!(read(kind, cursor).is_err(), "{kind} {cursor}");
        }
    }

    #[test]
    fn a_page_has_as_many_rows_as_may_be_asked_for() {
        assert_eq!([page_size(None, 100, 1000).ok(), page_size(None, 100, 10).ok()], [Some(100), Some(10)]);
        assert_eq!(page_size(Some(1000), 100, 1000).ok(), Some(1000));
        assert!(page_size(Some(0), 100, 1000).is_err() && page_size(Some(1001), 100, 1000).is_err());
    }
}
