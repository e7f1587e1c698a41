//! Rust as text: what of it is code, and what stands in its string literals.

/// The part of a file before its own tests.
pub fn production(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// A piece of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Code(String),
    /// What stands between the quotes, as it is written.
    Literal(String),
    Comment(String),
}

/// Cuts a source into pieces. It knows comments (nested too), strings, raw strings, and characters beside lifetimes.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let (mut code, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (piece, length) = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            (Piece::Comment(rest[..end].to_owned()), end)
        } else if rest.starts_with("/*") {
            let end = end_of_block(rest);
            (Piece::Comment(rest[..end].to_owned()), end)
        } else if let Some((start, end, length)) = string(rest).filter(|_| !after_word || first == '"') {
            (Piece::Literal(rest[start..end].to_owned()), length)
        } else {
            let length = character(rest).unwrap_or(first.len_utf8());
            code.push_str(if length == first.len_utf8() { &rest[..length] } else { "' '" });
            rest = &rest[length..];
            continue;
        };
        if !code.is_empty() {
            found.push(Piece::Code(std::mem::take(&mut code)));
        }
        found.push(piece);
        rest = &rest[length..];
    }
    if !code.is_empty() {
        found.push(Piece::Code(code));
    }
    found
}

fn end_of_block(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Start and end of a literal's inside, and its whole length.
fn string(text: &str) -> Option<(usize, usize, usize)> {
    let open = text.trim_start_matches(['b', 'c']);
    let raw = open.strip_prefix('r').map(|open| (open, open.len() - open.trim_start_matches('#').len()));
    if let Some((open, hashes)) = raw.filter(|(open, hashes)| open[*hashes..].starts_with('"')) {
        let start = text.len() - open.len() + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = text[start..].find(&close).map_or(text.len(), |end| start + end);
        return Some((start, end, (end + close.len()).min(text.len())));
    }
    let inside = open.strip_prefix('"').filter(|_| text.len() - open.len() <= 1)?;
    let start = text.len() - inside.len();
    let mut escaped = false;
    let end = inside.char_indices().find(|(_, c)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    let end = end.map_or(text.len(), |(end, _)| start + end);
    Some((start, end, (end + 1).min(text.len())))
}

/// The length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return Some(inside[2..].find('\'')? + 4);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}

/// The code alone; comments and literals are a space each.
pub fn code(text: &str) -> String {
    let piece = |piece| match piece {
        Piece::Code(code) => code,
        Piece::Literal(_) | Piece::Comment(_) => " ".to_owned(),
    };
    pieces(text).into_iter().map(piece).collect()
}

/// The string literals.
pub fn literals(text: &str) -> Vec<String> {
    let literal = |piece| match piece {
        Piece::Literal(literal) => Some(literal),
        Piece::Code(_) | Piece::Comment(_) => None,
    };
    pieces(text).into_iter().filter_map(literal).collect()
}

#[test]
fn sources_are_cut_where_code_ends() {
    let text = r##"fn a<'x>(c: &'x str) { let q = '"'; // crate::no "x"
        let s = "crate::no \" // more"; /* a /* b */ crate::no */ let r = r#"crate::no " "#; b"z"; '\''; crate::yes() }"##;
    let code = code(text);
    assert!(code.contains("crate::yes()") && !code.contains("no") && code.contains("<'x>(c: &'x str)"), "{code}");
    assert_eq!(literals(text), ["crate::no \\\" // more", "crate::no \" ", "z"]);
}

#[test]
fn tests_are_left_out() {
    assert_eq!(production("a\n#[cfg(test)]\nmod tests {\nb"), "a\n");
    assert_eq!(production("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
}
