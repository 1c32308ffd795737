//! `If-Match` and `ETag`: so that two operators don't undo each other's changes
//! without knowing (RFC 9110 §13.1.1). A service's entity tag is its revision.

use axum::Json;
use axum::http::header::{ETAG, HeaderMap, IF_MATCH};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::deploy::{Condition, ServiceStatus};

/// What `If-Match` asks for.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(Condition::None) };
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() || text.contains(',') {
        return Err(Problem::bad_request("If-Match names more than one entity tag"));
    }
    if text == "*" {
        return Ok(Condition::Deployed);
    }
    let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // A tag that is none of ours matches nothing: no revision is 0.
    tag.map(|tag| Condition::Revision(tag.parse().unwrap_or_default())).ok_or_else(|| {
        Problem::bad_request("If-Match is neither * nor an entity tag such as \"7\"")
    })
}

/// A service with its entity tag.
pub(super) fn tagged(service: ServiceStatus) -> Response {
    match service.revision {
        Some(revision) => ([(ETAG, format!("\"{revision}\""))], Json(service)).into_response(),
        None => Json(service).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Result<Condition, u16> {
        let headers = HeaderMap::from_iter([(IF_MATCH, value.parse().expect("a value"))]);
        condition(&headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn if_match_is_a_revision_or_any() {
        assert!(matches!(condition(&HeaderMap::new()), Ok(Condition::None)));
        assert_eq!(of("*"), Ok(Condition::Deployed));
        assert_eq!(of("\"7\""), Ok(Condition::Revision(7)));
        assert_eq!(of("\"another's\""), Ok(Condition::Revision(0)));
        for wrong in ["7", "\"1\", \"2\"", "W/\"7\""] {
            assert_eq!(of(wrong), Err(400), "{wrong}");
        }
    }
}
