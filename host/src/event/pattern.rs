//! Patterns over event types: `shop.order.*`.

use std::fmt;
use std::str::FromStr;

/// How long a pattern may be, in bytes.
const MAX_BYTES: usize = 256;

/// Which event types a subscription wants. Segments are parted by dots; `*` is
/// any one segment, `>` as the last one any rest of at least one segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypePattern {
    text: String,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty or too long.
    #[error("a pattern has 1 to {MAX_BYTES} bytes")]
    Length,
    /// Two dots follow each other, or it begins or ends with one.
    #[error("a pattern has no empty segments")]
    EmptySegment,
    /// A segment has a wildcard and something else.
    #[error("`{0}`: a wildcard is a segment of its own")]
    Mixed(String),
    /// `>` is followed by something.
    #[error("`>` is any rest, so it comes last")]
    RestNotLast,
}

impl TypePattern {
    /// Whether an event of this type is wanted.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let mut segments = event_type.split('.');
        for pattern in self.text.split('.') {
            match (pattern, segments.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(segment)) if wanted == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    /// Whether it is of many types.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.text.split('.').any(|segment| matches!(segment, "*" | ">"))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for TypePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(PatternError::Length);
        }
        let mut ended = false;
        for segment in text.split('.') {
            if ended {
                return Err(PatternError::RestNotLast);
            }
            match segment {
                "" => return Err(PatternError::EmptySegment),
                ">" => ended = true,
                "*" => {}
                segment if segment.contains(['*', '>']) => {
                    return Err(PatternError::Mixed(segment.to_owned()));
                }
                _ => {}
            }
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        pattern.parse::<TypePattern>().expect("a pattern").matches(event_type)
    }

    #[test]
    fn a_star_is_one_segment_and_an_arrow_the_rest() {
        assert!(matches("shop.order.placed", "shop.order.placed"));
        assert!(!matches("shop.order.placed", "shop.order.placed.twice"));
        assert!(!matches("shop.order.placed", "shop.order"));
        assert!(matches("shop.*.placed", "shop.order.placed"));
        assert!(matches("shop.order.*", "shop.order.placed"));
        assert!(!matches("shop.order.*", "shop.order"));
        assert!(!matches("shop.order.*", "shop.order.placed.twice"));
        assert!(matches("shop.>", "shop.order.placed"));
        assert!(!matches("shop.>", "shop"));
        assert!(matches(">", "anything"));
        assert!(!matches("*", "a.b"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refused = |text: &str| text.parse::<TypePattern>().expect_err("no pattern");
        assert_eq!(refused(""), PatternError::Length);
        assert_eq!(refused(&"a".repeat(257)), PatternError::Length);
        for text in [".", "a..b", ".a", "a."] {
            assert_eq!(refused(text), PatternError::EmptySegment, "{text}");
        }
        assert_eq!(refused("shop.ord*"), PatternError::Mixed("ord*".to_owned()));
        assert_eq!(refused("shop.>.placed"), PatternError::RestNotLast);
    }
}
