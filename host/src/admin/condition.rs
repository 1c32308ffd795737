//! `If-Match` and `ETag`: so that two operators don't undo each other's changes
//! without knowing (RFC 9110 §13.1.1). A service's entity tag is its revision.

use axum::Json;
use axum::http::header::{ETAG, HeaderMap, IF_MATCH};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::deploy::{Condition, MAX_REVISIONS, ServiceStatus};

/// What `If-Match` asks for: any service, or one with any of these tags.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut revisions = [0; MAX_REVISIONS];
    let mut count = 0;
    let mut names_any = false;
    let mut is_there = false;
    for value in headers.get_all(IF_MATCH) {
        is_there = true;
        let mut rest = value.to_str().map_err(|_| no_tag())?.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('*') {
                names_any = true;
                rest = next(after)?;
                continue;
            }
            let (tag, after) = tag(rest).ok_or_else(no_tag)?;
            rest = next(after)?;
            if count == MAX_REVISIONS {
                let message = format!("If-Match names more than {MAX_REVISIONS} entity tags");
                return Err(Problem::bad_request(message));
            }
            revisions[count] = tag;
            count += 1;
        }
    }
    match (is_there, names_any, count) {
        (false, ..) => Ok(Condition::None),
        (true, true, 0) => Ok(Condition::Deployed),
        (true, false, 1..) => Ok(Condition::Revisions(revisions)),
        _ => Err(no_tag()),
    }
}

/// The revision of the tag that a text begins with, and what follows it. One that is none of
/// ours, or weak, matches nothing: no revision is 0, and `If-Match` compares strongly (RFC 9110
/// §8.8.3.2).
fn tag(text: &str) -> Option<(u64, &str)> {
    let (is_weak, quoted) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
    let revision = if is_weak { 0 } else { tag.parse().unwrap_or_default() };
    Some((revision, after))
}

/// What comes after a comma, if anything does.
fn next(after: &str) -> Result<&str, Problem> {
    let after = after.trim_start();
    if after.is_empty() {
        return Ok(after);
    }
    after.strip_prefix(',').map(str::trim_start).ok_or_else(no_tag)
}

fn no_tag() -> Problem {
    Problem::bad_request("If-Match is neither * nor entity tags such as \"7\"")
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
        assert_eq!(of("\"7\""), Ok(Condition::revision(7)));
        assert_eq!(of("\"another's\""), Ok(Condition::revision(0)));
        assert_eq!(of("W/\"7\""), Ok(Condition::revision(0)), "it compares strongly");
        let two = Condition::Revisions([1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of("\"1\", \"2\""), Ok(two));
        assert_eq!(of("\"1\",\"2\" ,"), Ok(two));
        for wrong in ["7", "\"1\" \"2\"", "\"1", "W/7", "*, \"1\"", "", "w/\"1\""] {
            assert_eq!(of(wrong), Err(400), "{wrong}");
        }
    }
}
