//! What is searched for: literals or regular expressions, none of which ever matches across a line feed.

use std::ops::Range;

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition,
};

/// Why patterns cannot be searched for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    /// It is no regular expression.
    #[error("{0}")]
    Syntax(Box<regex_syntax::Error>),
    /// No line has a line feed in it.
    #[error("a regular expression is matched line by line, so it cannot match a line feed: search for each line")]
    LineFeed,
    /// It is too large, say.
    #[error("{0}")]
    Regex(#[from] regex::Error),
}

/// How patterns are to be understood.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Syntax {
    /// As regular expressions; otherwise as they are.
    pub(crate) regex: bool,
    pub(crate) ignore_case: bool,
    /// Whether the letters are those of Unicode, in UTF-8; otherwise those of ASCII.
    pub(crate) unicode: bool,
}

/// Finds the first of some patterns.
#[derive(Debug)]
pub(crate) struct Matcher(Engine);

#[derive(Debug)]
enum Engine {
    Literal(Box<Finder<'static>>),
    Regex(Regex),
}

impl Matcher {
    /// As grep, it takes each line of a pattern as a pattern.
    ///
    /// # Errors
    /// [`PatternError`], of regular expressions only.
    pub(crate) fn new(patterns: &[Vec<u8>], syntax: Syntax) -> Result<Self, PatternError> {
        let mut lines: Vec<_> = patterns.iter().flat_map(|pattern| pattern.split(|&byte| byte == b'\n')).collect();
        if let (false, false, [only]) = (syntax.regex, syntax.ignore_case, lines.as_slice()) {
            return Ok(Self(Engine::Literal(Box::new(Finder::new(only).into_owned()))));
        }
        if !syntax.regex {
            // Of literals that match at one place, grep shows the longest, and `regex` the first of the alternatives.
            lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        }
        let parsed = lines.into_iter().map(|line| match syntax.regex {
            true => expression(line, syntax),
            false => literal(line, syntax),
        });
        let either = Hir::alternation(parsed.collect::<Result<_, _>>()?);
        Ok(Self(Engine::Regex(RegexBuilder::new(&either.to_string()).build()?)))
    }

    /// The first match in `text` at or behind `start`.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], start: usize) -> Option<Range<usize>> {
        match &self.0 {
            Engine::Literal(finder) => {
                let at = start + finder.find(text.get(start..)?)?;
                Some(at..at + finder.needle().len())
            }
            Engine::Regex(regex) => {
                (start <= text.len()).then(|| regex.find_at(text, start))?.map(|found| found.range())
            }
        }
    }

    /// Bytes of the longest match, where that is known: of a literal.
    pub(crate) fn longest(&self) -> Option<usize> {
        match &self.0 {
            Engine::Literal(finder) => Some(finder.needle().len()),
            Engine::Regex(_) => None,
        }
    }

    /// The matches in a line that are not empty.
    pub(super) fn matches(&self, line: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = self.find(line, at)?;
            at = found.end.max(found.start + 1);
            Some(found)
        })
        .filter(|found| !found.is_empty())
    }
}

/// A literal, which may be no text at all.
fn literal(line: &[u8], syntax: Syntax) -> Result<Hir, PatternError> {
    if !syntax.ignore_case {
        return Ok(Hir::literal(line));
    }
    let parts = line.utf8_chunks().flat_map(|chunk| {
        let text = parse(&regex_syntax::escape(chunk.valid()), syntax);
        [text, Ok(Hir::literal(chunk.invalid()))]
    });
    Ok(Hir::concat(parts.collect::<Result<_, _>>()?))
}

/// A regular expression. Bytes that are no UTF-8 stand for themselves.
fn expression(line: &[u8], syntax: Syntax) -> Result<Hir, PatternError> {
    let text: String = line
        .utf8_chunks()
        .map(|chunk| {
            chunk.invalid().iter().fold(chunk.valid().to_owned(), |text, byte| text + &format!(r"(?-u:\x{byte:02X})"))
        })
        .collect();
    in_one_line(parse(&text, syntax)?)
}

fn parse(text: &str, syntax: Syntax) -> Result<Hir, PatternError> {
    let mut parser = ParserBuilder::new();
    parser.utf8(false).unicode(syntax.unicode).case_insensitive(syntax.ignore_case);
    parser.build().parse(text).map_err(|error| PatternError::Syntax(Box::new(error)))
}

/// The same expression within a line: what stands for any byte stands for no line feed, and the ends of the text are
/// those of the line.
fn in_one_line(hir: Hir) -> Result<Hir, PatternError> {
    let all = |parts: Vec<Hir>| parts.into_iter().map(in_one_line).collect::<Result<Vec<_>, _>>();
    Ok(match hir.into_kind() {
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => return Err(PatternError::LineFeed),
        HirKind::Class(Class::Unicode(mut class)) => {
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(mut class)) => {
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(Look::Start | Look::StartCRLF) => Hir::look(Look::StartLF),
        HirKind::Look(Look::End | Look::EndCRLF) => Hir::look(Look::EndLF),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(in_one_line(*sub)?) })
        }
        HirKind::Capture(capture) => in_one_line(*capture.sub)?,
        HirKind::Concat(parts) => Hir::concat(all(parts)?),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Look(look) => Hir::look(look),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(patterns: &[&[u8]], regex: bool, ignore_case: bool) -> Matcher {
        let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.to_vec()).collect();
        Matcher::new(&patterns, Syntax { regex, ignore_case, unicode: true }).unwrap()
    }

    #[test]
    fn literals_stand_for_themselves() {
        assert_eq!(matcher(&[b"a.c"], false, false).find(b"abc a.c", 0), Some(4..7));
        assert_eq!(matcher(&[b"a.c", b"x"], false, false).find(b"abc a.c", 0), Some(4..7));
        assert_eq!(matcher(&[b"\xffA"], false, true).find(b"..\xffa", 0), Some(2..4));
        assert_eq!(matcher(&["Ä".as_bytes()], false, true).find("ä".as_bytes(), 0), Some(0..2));
        assert_eq!(matcher(&[b"one\ntwo"], false, false).find(b"two", 0), Some(0..3));
    }

    #[test]
    fn no_expression_matches_across_lines() {
        for expression in [&br"a\sb"[..], b"a[^x]b", b"(?s)a.b", br"a\Wb", br"(?-u)a\Db"] {
            assert_eq!(matcher(&[expression], true, false).find(b"a\nb", 0), None, "{expression:?}");
        }
        assert!(matches!(
            Matcher::new(&[br"a\nb".to_vec()], Syntax { regex: true, ..Syntax::default() }),
            Err(PatternError::LineFeed)
        ));
    }

    #[test]
    fn the_ends_are_those_of_the_line() {
        for expression in [&b"^b$"[..], br"\Ab\z", b"(?m)^b$"] {
            assert_eq!(matcher(&[expression], true, false).find(b"ab\nb\nbc", 0), Some(3..4), "{expression:?}");
        }
    }

    #[test]
    fn invalid_bytes_of_an_expression_stand_for_themselves() {
        assert_eq!(matcher(&[b"\xff+"], true, false).find(b"a\xff\xff", 0), Some(1..3));
    }
}
