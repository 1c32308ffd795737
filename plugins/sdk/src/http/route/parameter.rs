//! Parameters of paths.

use percent_encoding::percent_decode_str;

/// What a segment of a path can be read into. A service may have its own:
///
/// ```
/// use hotdock_sdk::http::Parameter;
///
/// enum Size { Small, Large }
///
/// impl Parameter for Size {
///     fn of_segment(segment: &str) -> Option<Self> {
///         match segment {
///             "small" => Some(Self::Small),
///             "large" => Some(Self::Large),
///             _ => None,
///         }
///     }
/// }
/// ```
pub trait Parameter: Sized {
    /// Reads a segment, as it was sent: `%20` is still `%20`. `None` where it is none of these,
    /// so that there is nothing at this path.
    fn of_segment(segment: &str) -> Option<Self>;
}

/// Decoded: `%2F` is a `/` in it. What is not UTF-8 then is none.
impl Parameter for String {
    fn of_segment(segment: &str) -> Option<Self> {
        percent_decode_str(segment).decode_utf8().ok().map(Into::into)
    }
}

/// Digits alone, and a `-` before them where the type has negative numbers.
macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Parameter for $number {
            fn of_segment(segment: &str) -> Option<Self> {
                // `parse` would take a `+`, by which one thing had two paths.
                segment.parse().ok().filter(|_| !segment.starts_with('+'))
            }
        }
    )* };
}

numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

#[cfg(test)]
mod tests {
    use super::Parameter;

    #[test]
    fn numbers_are_digits_in_their_range() {
        assert_eq!(u8::of_segment("255"), Some(255));
        assert_eq!(i64::of_segment("-7"), Some(-7));
        for segment in ["256", "-1", "+1", "1.0", "0x1", " 1", "", "%31"] {
            assert_eq!(u8::of_segment(segment), None, "{segment}");
        }
    }

    #[test]
    fn a_text_is_decoded() {
        assert_eq!(String::of_segment("a%20b%2Fc+d").as_deref(), Some("a b/c+d"));
        assert_eq!(String::of_segment("%FF"), None);
    }
}
