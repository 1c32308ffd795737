//! Patterns of paths.

/// How many parameters a pattern has.
#[must_use]
pub const fn parameters(pattern: &str) -> usize {
    let (pattern, mut at, mut count) = (pattern.as_bytes(), 0, 0);
    while at < pattern.len() {
        count += (pattern[at] == b'{') as usize;
        at += 1;
    }
    count
}

/// The segments that stand where this pattern has its parameters, if the path is one of its.
#[must_use]
pub fn matched<'p, const PARAMETERS: usize>(
    mut pattern: &str,
    path: &'p str,
) -> Option<[&'p str; PARAMETERS]> {
    let mut segments = [""; PARAMETERS];
    let mut rest = path;
    for segment in &mut segments {
        let (before, parameter) = pattern.split_once('{')?;
        let (name, after) = parameter.split_once('}')?;
        rest = rest.strip_prefix(before)?;
        let end = if name.starts_with('*') { None } else { rest.find('/') };
        (*segment, rest) = rest.split_at(end.unwrap_or(rest.len()));
        if segment.is_empty() {
            return None;
        }
        pattern = after;
    }
    (rest == pattern).then_some(segments)
}

/// Fails to compile if a pattern is none, or one that an earlier one leaves nothing to.
///
/// # Panics
/// So.
pub const fn check(patterns: &[&str]) {
    let mut later = 0;
    while later < patterns.len() {
        check_form(patterns[later].as_bytes());
        let mut earlier = 0;
        while earlier < later {
            assert!(
                !covers(patterns[earlier].as_bytes(), patterns[later].as_bytes()),
                "a route is never reached, because an earlier one has all of its paths: name it before"
            );
            earlier += 1;
        }
        later += 1;
    }
}

const fn check_form(pattern: &[u8]) {
    assert!(!pattern.is_empty() && pattern[0] == b'/', "a route begins with `/`");
    let mut start = 0;
    while start < pattern.len() {
        let end = end_of_segment(pattern, start + 1);
        let mut at = start + 1;
        while at < end {
            let is_first = at == start + 1;
            let is_last = at + 1 == end;
            assert!(!matches!(pattern[at], b'?' | b'#'), "a route is a path, without a query");
            assert!(
                (pattern[at] != b'{' || is_first)
                    && ((pattern[at] == b'}') == (is_last && is_parameter(pattern, start + 1))),
                "a parameter is a whole segment: `/{{name}}`"
            );
            at += 1;
        }
        assert!(
            !is_wildcard(pattern, start + 1) || end == pattern.len(),
            "`{{*name}}` is a route's last segment"
        );
        start = end;
    }
}

/// Whether every path of `b` is one of `a`, as far as the patterns say.
const fn covers(a: &[u8], b: &[u8]) -> bool {
    // Both stand at the `/` before a segment.
    let (mut in_a, mut in_b) = (0, 0);
    while in_a < a.len() && in_b < b.len() {
        let (start_a, start_b) = (in_a + 1, in_b + 1);
        if is_wildcard(a, start_a) {
            return start_b < b.len();
        }
        (in_a, in_b) = (end_of_segment(a, start_a), end_of_segment(b, start_b));
        let is_covered = if is_parameter(a, start_a) {
            start_b < in_b && !is_wildcard(b, start_b)
        } else {
            !is_parameter(b, start_b) && is_same(a, (start_a, in_a), b, (start_b, in_b))
        };
        if !is_covered {
            return false;
        }
    }
    in_a == a.len() && in_b == b.len()
}

const fn end_of_segment(pattern: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < pattern.len() && pattern[end] != b'/' {
        end += 1;
    }
    end
}

const fn is_parameter(pattern: &[u8], start: usize) -> bool {
    start < pattern.len() && pattern[start] == b'{'
}

const fn is_wildcard(pattern: &[u8], start: usize) -> bool {
    is_parameter(pattern, start) && start + 1 < pattern.len() && pattern[start + 1] == b'*'
}

const fn is_same(
    a: &[u8],
    (start_a, end_a): (usize, usize),
    b: &[u8],
    (start_b, end_b): (usize, usize),
) -> bool {
    if end_a - start_a != end_b - start_b {
        return false;
    }
    let mut at = 0;
    while at < end_a - start_a {
        if a[start_a + at] != b[start_b + at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{check, covers, matched, parameters};

    #[test]
    fn a_parameter_is_a_segment_that_is_not_empty() {
        assert_eq!(parameters("/a/{b}/c/{*d}"), 2);
        assert_eq!(matched("/a/{b}/c", "/a/x/c"), Some(["x"]));
        assert_eq!(matched("/a/{b}/c/{*d}", "/a/x/c/y/z/"), Some(["x", "y/z/"]));
        for path in ["/a//c", "/a/x/y/c", "/a/x/c/", "/a/x/cc", "a/x/c", "/a/x", ""] {
            assert_eq!(matched::<1>("/a/{b}/c", path), None, "{path}");
        }
        assert_eq!(matched("/a", "/a"), Some([]));
        assert_eq!(matched::<0>("/a", "/a/"), None);
    }

    #[test]
    fn a_route_that_is_never_reached_is_found() {
        let covered = [
            ("/a", "/a"),
            ("/a/{b}", "/a/c"),
            ("/a/{b}", "/a/{c}"),
            ("/{*all}", "/a/{b}"),
            ("/a/{*all}", "/a/{*rest}"),
            ("/{a}/b", "/c/b"),
        ];
        for (a, b) in covered {
            assert!(covers(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
        let reached = [
            ("/a", "/b"),
            ("/a/c", "/a/{b}"),
            ("/a/{b}", "/a"),
            ("/a/{b}", "/a/"),
            ("/a/{b}", "/a/{b}/c"),
            ("/a/{b}", "/a/{*b}"),
            ("/{*all}", "/"),
            ("/{a}/b", "/c/{b}"),
        ];
        for (a, b) in reached {
            assert!(!covers(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        check(&["/", "/a/", "/a-b/{c}/.d", "/{*all}"]);
        for pattern in
            ["", "a", "/a?b", "/{a", "/a}", "/a{b}", "/{a}b", "/{*a}/b", "/{a}{b}", "/{a{b}"]
        {
            let refused = std::panic::catch_unwind(|| check(&[pattern]));
            assert!(refused.is_err(), "{pattern}");
        }
    }
}
