//! Results as JSON: one object in a line. What is no UTF-8 is there twice: as text in which U+FFFD stands for what is
//! not, and as base64 of all its bytes.

use super::matcher::Matcher;
use super::scan::{Line, Summary, Wanted};

/// `{"path":"a","line":3,"offset":17,"text":"…","matches":[[0,4]]}`
pub(super) fn line(chunk: &mut Vec<u8>, path: &[u8], line: &Line<'_>, matcher: &Matcher) {
    chunk.push(b'{');
    string(chunk, "path", path);
    chunk.extend_from_slice(format!(",\"line\":{},\"offset\":{},", line.number, line.offset).as_bytes());
    string(chunk, "text", line.bytes);
    chunk.extend_from_slice(b",\"matches\":[");
    for (number, found) in matcher.matches(line.bytes).enumerate() {
        let comma = if number == 0 { "" } else { "," };
        chunk.extend_from_slice(format!("{comma}[{},{}]", found.start, found.end).as_bytes());
    }
    chunk.extend_from_slice(b"]}\n");
}

/// `{"path":"a","count":2}` of every file, or `{"path":"a"}` of one that matches; of lines,
/// `{"path":"a","binary":true}` of a binary file that matches.
pub(super) fn file(chunk: &mut Vec<u8>, path: &[u8], summary: &Summary, wanted: Wanted) {
    let rest = match (wanted, summary.binary_match) {
        (Wanted::Count, _) => format!(",\"count\":{}", summary.matches),
        (Wanted::First, _) if summary.matches > 0 => String::new(),
        (Wanted::Lines, Some(offset)) => format!(",\"offset\":{offset},\"binary\":true"),
        _ => return,
    };
    chunk.push(b'{');
    string(chunk, "path", path);
    chunk.extend_from_slice(rest.as_bytes());
    chunk.extend_from_slice(b"}\n");
}

/// A key and its text.
fn string(chunk: &mut Vec<u8>, key: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    chunk.extend_from_slice(format!("\"{key}\":\"").as_bytes());
    for character in text.chars() {
        match character {
            '"' => chunk.extend_from_slice(b"\\\""),
            '\\' => chunk.extend_from_slice(b"\\\\"),
            '\n' => chunk.extend_from_slice(b"\\n"),
            '\r' => chunk.extend_from_slice(b"\\r"),
            '\t' => chunk.extend_from_slice(b"\\t"),
            control if control < ' ' => chunk.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes()),
            other => chunk.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    chunk.push(b'"');
    if text.as_bytes() != bytes {
        chunk.extend_from_slice(format!(",\"{key}_base64\":\"").as_bytes());
        base64(chunk, bytes);
        chunk.push(b'"');
    }
}

fn base64(chunk: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let value = (0..3).fold(0, |value, at| value << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let is_there = digit <= three.len();
            chunk.push(if is_there { DIGITS[(value >> (18 - 6 * digit)) as usize & 63] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let mut chunk = Vec::new();
            base64(&mut chunk, bytes.as_bytes());
            assert_eq!(chunk, text.as_bytes());
        }
    }
}
