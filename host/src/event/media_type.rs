//! What a `datacontenttype` says about the data.

use mediatype::names::{CHARSET, JSON, TEXT, XML};
use mediatype::{MediaType, ReadParams as _};

/// The media type that data has where no other is said.
pub(super) const JSON_DATA: &str = "application/json";

/// How data of some media type is shown in the JSON event format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// As the JSON that it is: `*/json` and `*/*+json`.
    Json,
    /// As a text in UTF-8.
    Text,
    /// As Base64.
    Binary,
}

/// Whether the text is a media type.
pub(super) fn is_one(text: &str) -> bool {
    text == JSON_DATA || (text.is_ascii() && MediaType::parse(text).is_ok())
}

/// What data of this media type is. What is no media type was refused before.
pub(super) fn content(data_content_type: Option<&str>) -> Content {
    let Some(text) = data_content_type.filter(|&text| text != JSON_DATA) else {
        return Content::Json;
    };
    let Ok(media_type) = MediaType::parse(text) else { return Content::Json };
    let format = media_type.suffix.unwrap_or(media_type.subty);
    if format == JSON {
        return Content::Json;
    }
    let is_text = media_type.ty == TEXT || format == XML;
    if is_text && is_utf8(&media_type) { Content::Text } else { Content::Binary }
}

/// Whether its `charset`, if it says one, is UTF-8 or a part of it.
pub(super) fn is_utf8(media_type: &MediaType<'_>) -> bool {
    media_type.get_param(CHARSET).is_none_or(|charset| {
        let charset = charset.unquoted_str();
        charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii")
    })
}
