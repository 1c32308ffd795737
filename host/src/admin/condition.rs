//! `If-Match`, `If-None-Match` and `ETag`: so that two operators don't undo each other's changes
//! without knowing (RFC 9110 §13.1). A service's entity tag is its revision and, behind a dot, a
//! digest of all that is said of it: a client that has seen no figures but these has seen no
//! others. A change asks for the revision alone, whatever was counted meanwhile.
//!
//! Nothing else has an entity tag, so that what asks for one is refused before it is done ([`check`]).

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, FROM, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH,
};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::problem::Problem;
use super::query::{Known, operation};
use crate::deploy::{Asking, Condition, RolledBack, ServiceStatus};
use crate::digest::Digest;
use crate::events::DeadLetterId;

/// How long the name of who asks may be.
const MAX_WHO_BYTES: usize = 254;

/// Of a digest in an entity tag: enough that no two are the same by chance.
const DIGEST_CHARACTERS: usize = 16;

/// What has an entity tag, and how the paths of its changes begin.
const TAGGED: &str = "/v1/services/{name}";
/// What is below that and has none.
const KEPT_VERSIONS: &str = "/versions";

/// How the paths of a dead letter begin, and those of a subscription.
const DEAD_LETTER: &str = "/v1/dead-letters/{service}/{number}";
const SUBSCRIPTION: &str = "/v1/subscriptions/{service}/{name}";

/// Answers a request whose condition is malformed, or does not hold of what has no entity tag;
/// lets others through. Of services the condition is looked at together with the change.
pub(super) async fn check(
    State((admin, known)): State<(Admin, Known)>,
    path: Option<MatchedPath>,
    names: Result<Path<(String, String)>, PathRejection>,
    request: Request,
    next: Next,
) -> Response {
    // Where there is no such path or method, that is what is said.
    let path = path.filter(|path| known.contains_key(&operation(path, request.method())));
    let Some(path) = path else { return next.run(request).await };
    let is_safe = request.method().is_safe();
    let unmet = match untagged(request.headers(), is_safe) {
        Ok(Some(unmet)) if !is_tagged(path.as_str()) => unmet,
        Ok(_) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    // RFC 9110 §13.2.1: what fails anyhow fails as it would without a condition.
    if is_safe {
        let response = next.run(request).await;
        return if response.status().is_success() { unmet.instead_of(response) } else { response };
    }
    let names = names.ok().map(|Path(names)| names);
    match is_there(&admin, path.as_str(), names).await {
        Ok(true) => unmet.instead_of(Response::default()),
        Ok(false) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether a path is that of a service, or of a change of it.
fn is_tagged(path: &str) -> bool {
    path.strip_prefix(TAGGED).is_some_and(|rest| rest != KEPT_VERSIONS)
}

/// How a condition does not hold.
enum Unmet {
    /// What is asked for is not done.
    Refused(Problem),
    /// It is there, as the client knows, and is not sent again. Of safe requests alone.
    Known,
}

impl Unmet {
    /// The answer in place of this one, which there is where the condition is looked at after it.
    fn instead_of(self, response: Response) -> Response {
        match self {
            Self::Refused(problem) => problem.into_response(),
            Self::Known => unmodified(response),
        }
    }
}

/// How a condition fails of something that is there and has no entity tag; `None` where it holds.
/// No tag that `If-Match` names is its own (RFC 9110 §13.1.1), and none that `If-None-Match` does,
/// but `*` is whatever there is (§13.1.2).
fn untagged(headers: &HeaderMap, is_safe: bool) -> Result<Option<Unmet>, Problem> {
    let detail = match (named(headers, &IF_MATCH)?, named(headers, &IF_NONE_MATCH)?) {
        (Some(Named::Revisions(_)), _) => {
            "this has no entity tag, so that none that If-Match names is its own"
        }
        (_, Some(Named::Any)) if is_safe => return Ok(Some(Unmet::Known)),
        (_, Some(Named::Any)) => {
            "this is there, though it has no entity tag: If-None-Match: * asks that it is not"
        }
        _ => return Ok(None),
    };
    Ok(Some(Unmet::Refused(Problem::new(StatusCode::PRECONDITION_FAILED, detail))))
}

/// Whether what an unsafe request is about is there.
async fn is_there(
    admin: &Admin,
    path: &str,
    names: Option<(String, String)>,
) -> Result<bool, Problem> {
    // Where events are taken is always there.
    let Some((service, name)) = names else { return Ok(true) };
    let full = format!("{service}/{name}");
    let found = if path.starts_with(DEAD_LETTER) {
        let Ok(id) = full.parse::<DeadLetterId>() else { return Ok(false) };
        admin.events.dead_letter(&id).await.map(drop)
    } else if path.starts_with(SUBSCRIPTION) {
        admin.events.subscription(&full).await.map(drop)
    } else {
        Ok(())
    };
    match found.map_err(Problem::from) {
        Ok(()) => Ok(true),
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// Who asks, and what `If-Match` or `If-None-Match` asks for.
pub(super) fn asked(headers: &HeaderMap) -> Result<Asking, Problem> {
    Ok(Asking { condition: condition(headers)?, who: who(headers)? })
}

/// Who asks, as they say themselves (RFC 9110 §10.1.2).
fn who(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(FROM) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_WHO_BYTES).contains(&text.len()));
    let text = text.ok_or_else(|| {
        Problem::bad_request(format!("From is not text of 1 to {MAX_WHO_BYTES} bytes"))
    })?;
    Ok(Some(text.to_owned()))
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    match (named(headers, &IF_MATCH)?, named(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::None),
        (Some(Named::Any), None) => Ok(Condition::Deployed),
        (Some(Named::Revisions(revisions)), None) => Ok(Condition::Revision(revisions.into())),
        (None, Some(Named::Any)) => Ok(Condition::Absent),
        (None, Some(Named::Revisions(revisions))) => Ok(Condition::NoRevision(revisions.into())),
        (Some(_), Some(_)) => {
            Err(Problem::bad_request("If-Match and If-None-Match are not for one request"))
        }
    }
}

/// What a condition names: any revision, or these.
enum Named {
    Any,
    Revisions(Vec<u64>),
}

/// `*`, or entity tags; in several lines, too.
fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Named>, Problem> {
    let mut any = false;
    let mut all = Vec::new();
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    for line in lines {
        match line.to_str().unwrap_or_default().trim() {
            "*" => any = true,
            text => all.extend(revisions(text, name == IF_NONE_MATCH)?),
        }
    }
    Ok(Some(if any { Named::Any } else { Named::Revisions(all) }))
}

/// The revision that an entity tag names: all of it, or what is before its dot.
fn revision(tag: &str) -> Option<u64> {
    tag.split_once('.').map_or(tag, |(revision, _)| revision).parse().ok()
}

/// The revisions that a list of entity tags names. A weak tag matches nothing where tags are
/// compared by every bit, as `If-Match` has it (RFC 9110 §13.1.1), and as well as another where
/// they are not (§13.1.2). One that is none of ours matches nothing: no revision is 0.
fn revisions(list: &str, weakly: bool) -> Result<Vec<u64>, Problem> {
    let tags = tags(list)?.into_iter();
    let revision = |(is_weak, tag): (bool, &str)| {
        if is_weak && !weakly { 0 } else { revision(tag).unwrap_or_default() }
    };
    Ok(tags.map(revision).collect())
}

/// The entity tags of a list, each without its quotes, and whether it is weak.
fn tags(list: &str) -> Result<Vec<(bool, &str)>, Problem> {
    let wrong = || {
        let detail = "If-Match or If-None-Match is neither * nor entity tags such as \"7\"";
        Problem::bad_request(detail)
    };
    let mut tags = Vec::new();
    let mut rest = list;
    loop {
        // Empty members of a list count for nothing (RFC 9110 §5.6.1).
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return if tags.is_empty() { Err(wrong()) } else { Ok(tags) };
        }
        let weak = rest.strip_prefix("W/");
        let (tag, after) = weak
            .unwrap_or(rest)
            .strip_prefix('"')
            .and_then(|quoted| quoted.split_once('"'))
            .ok_or_else(wrong)?;
        if !after.trim_start().is_empty() && !after.trim_start().starts_with(',') {
            return Err(wrong());
        }
        tags.push((weak.is_some(), tag));
        rest = after;
    }
}

/// A service with its entity tag, or that alone where the client has all that is said of it; 412
/// where `If-Match`, which counts first (RFC 9110 §13.2.2), names something else.
pub(super) fn tagged_for(headers: &HeaderMap, service: ServiceStatus) -> Result<Response, Problem> {
    let name = service.name.clone();
    let response = tagged(service);
    let tag = response.headers().get(ETAG);
    if names(headers, &IF_MATCH, tag)? == Some(false) {
        let found = tag.and_then(|tag| tag.to_str().ok()).unwrap_or("none");
        let detail = format!("{name} was changed meanwhile: its entity tag is {found}");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
    }
    let is_known = names(headers, &IF_NONE_MATCH, tag)? == Some(true);
    Ok(if is_known { unmodified(response) } else { response })
}

/// 304 in place of an answer that the client has: its head without what is of its content.
fn unmodified(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().remove(CONTENT_LENGTH);
    response
}

/// Whether a condition names what this tag is of; `None` where it is not there. `*` is whatever
/// there is, also without a tag. `If-Match` compares tags by every bit, so that a weak one is none
/// (RFC 9110 §13.1.1), and `If-None-Match` does not (§13.1.2).
fn names(
    headers: &HeaderMap,
    name: &HeaderName,
    found: Option<&HeaderValue>,
) -> Result<Option<bool>, Problem> {
    let found = found.and_then(|tag| tag.to_str().ok()).map(|tag| tag.trim_matches('"'));
    let weakly = name == IF_NONE_MATCH;
    let is_found = |(is_weak, tag): (bool, &str)| (weakly || !is_weak) && found == Some(tag);
    let mut names = None;
    for line in headers.get_all(name) {
        let is_named = match line.to_str().unwrap_or_default().trim() {
            "*" => true,
            text => tags(text)?.into_iter().any(is_found),
        };
        names = Some(names == Some(true) || is_named);
    }
    Ok(names)
}

/// A service with its entity tag.
pub(super) fn tagged(service: ServiceStatus) -> Response {
    let Some(revision) = service.revision else { return Json(service).into_response() };
    let body = serde_json::to_vec(&service).expect("a status is JSON");
    let digest = Digest::of(&body).to_string();
    let tag = format!("\"{revision}.{}\"", &digest[..DIGEST_CHARACTERS]);
    ([(ETAG, tag), (CONTENT_TYPE, "application/json".to_owned())], body).into_response()
}

/// What became of a rollback, with its service's entity tag.
pub(super) fn tagged_rollback(rolled_back: RolledBack) -> Response {
    let tag = tagged(rolled_back.service.clone()).headers_mut().remove(ETAG);
    let mut response = Json(rolled_back).into_response();
    response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Result<Condition, u16> {
        by(IF_MATCH, value)
    }

    fn by(name: HeaderName, value: &'static str) -> Result<Condition, u16> {
        let headers = HeaderMap::from_iter([(name, value.parse().expect("a value"))]);
        condition(&headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn if_none_match_is_other_revisions_or_none() {
        let not = |value| by(IF_NONE_MATCH, value);
        assert_eq!(not("*"), Ok(Condition::Absent));
        assert_eq!(not("\"7\", W/\"8\""), Ok(Condition::NoRevision([7, 8].into())));
        assert_eq!(not("7"), Err(400));
        let both = [(IF_MATCH, "*"), (IF_NONE_MATCH, "*")];
        let both = both.map(|(name, value)| (name, value.parse().expect("a value")));
        assert!(condition(&HeaderMap::from_iter(both)).is_err());
    }

    #[test]
    fn what_has_no_entity_tag_is_none_that_is_named() {
        let fails = |name: &HeaderName, value: &'static str, is_safe: bool| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            match untagged(&headers, is_safe) {
                Ok(unmet) => {
                    let answer = unmet.map(|unmet| unmet.instead_of(Response::default()));
                    answer.map(|answer| answer.status().as_u16())
                }
                Err(problem) => Some(problem.status().as_u16()),
            }
        };
        for is_safe in [true, false] {
            assert_eq!(fails(&IF_MATCH, "*", is_safe), None);
            assert_eq!(fails(&IF_MATCH, "\"7\", W/\"8\"", is_safe), Some(412));
            assert_eq!(fails(&IF_NONE_MATCH, "\"7\", W/\"8\"", is_safe), None);
            for wrong in ["7", "", "\"1", "\"1\", *"] {
                assert_eq!(fails(&IF_MATCH, wrong, is_safe), Some(400), "{wrong}");
                assert_eq!(fails(&IF_NONE_MATCH, wrong, is_safe), Some(400), "{wrong}");
            }
        }
        assert_eq!(fails(&IF_NONE_MATCH, "*", true), Some(304));
        assert_eq!(fails(&IF_NONE_MATCH, "*", false), Some(412));
        assert!(is_tagged("/v1/services/{name}") && is_tagged("/v1/services/{name}/drain"));
        assert!(!is_tagged("/v1/services/{name}/versions") && !is_tagged("/v1/services"));
    }

    #[test]
    fn if_match_is_revisions_or_any() {
        let revisions = |all: &[u64]| Ok(Condition::Revision(all.into()));
        assert!(matches!(condition(&HeaderMap::new()), Ok(Condition::None)));
        assert_eq!(of("*"), Ok(Condition::Deployed));
        assert_eq!(of("\"7\""), revisions(&[7]));
        assert_eq!(of("\"7.0a1b\", \"8.\""), revisions(&[7, 8]), "whatever was counted since");
        assert_eq!(of("\"another's, and so on\""), revisions(&[0]));
        assert_eq!(of("\"1\", \"2\",,\"3\" "), revisions(&[1, 2, 3]));
        assert_eq!(of("W/\"7\""), revisions(&[0]), "a weak one matches nothing");
        assert_eq!(of("W/\"7\", \"8\""), revisions(&[0, 8]));
        for wrong in ["7", "", ",", "\"1\" \"2\"", "\"1", "w/\"1\"", "\"1\", *"] {
            assert_eq!(of(wrong), Err(400), "{wrong}");
        }
        let mut lines = HeaderMap::new();
        lines.append(IF_MATCH, "\"1\"".parse().expect("a value"));
        lines.append(IF_MATCH, "\"2\"".parse().expect("a value"));
        assert_eq!(condition(&lines).ok(), revisions(&[1, 2]).ok());
    }

    #[test]
    fn what_is_looked_at_is_what_a_condition_names() {
        let found = HeaderValue::from_static("\"7.0a1b\"");
        let of = |name: &HeaderName, value: &'static str, found: Option<&HeaderValue>| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            names(&headers, name, found).map_err(|problem| problem.status().as_u16())
        };
        for name in [&IF_MATCH, &IF_NONE_MATCH] {
            assert_eq!(names(&HeaderMap::new(), name, Some(&found)).ok(), Some(None));
            for named in ["*", "\"7.0a1b\"", "\"zz\", \"7.0a1b\""] {
                assert_eq!(of(name, named, Some(&found)), Ok(Some(true)), "{name}: {named}");
            }
            for other in ["\"zz\"", "\"7\""] {
                assert_eq!(of(name, other, Some(&found)), Ok(Some(false)), "{name}: {other}");
            }
            assert_eq!(of(name, "7.0a1b", Some(&found)), Err(400));
            assert_eq!(of(name, "7.0a1b", None), Err(400));
            assert_eq!(of(name, "*", None), Ok(Some(true)), "it is there, though it has no tag");
            assert_eq!(of(name, "\"7.0a1b\"", None), Ok(Some(false)));
        }
        let weak = "W/\"7.0a1b\"";
        assert_eq!(of(&IF_MATCH, weak, Some(&found)), Ok(Some(false)));
        assert_eq!(of(&IF_NONE_MATCH, weak, Some(&found)), Ok(Some(true)));
        let mut lines = HeaderMap::new();
        for value in ["\"7.0a1b\"", "\"zz\""] {
            lines.append(IF_MATCH, HeaderValue::from_static(value));
        }
        assert_eq!(names(&lines, &IF_MATCH, Some(&found)).ok(), Some(Some(true)));
    }
}
