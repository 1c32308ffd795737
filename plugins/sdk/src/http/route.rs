//! Which function answers a request: by path and method.
//!
//! The routes are compiled into the function that looks them up. There is no table that a
//! fresh instance would have to build first, as it would for a router like `matchit`, and
//! nothing is allocated.

mod handler;
mod parameter;
mod pattern;

pub use self::handler::Handler;
pub use self::parameter::Parameter;
pub use self::pattern::{check, matched, parameters};
use super::Request;
use crate::problem::Problem;

/// Answers a request by the function that its path and method lead to; what comes out is a
/// [`Response`](crate::http::Response).
///
/// ```
/// use hotdock_sdk::http::{Request, Response, json};
/// use hotdock_sdk::problem::Problem;
/// use hotdock_sdk::testing::request;
///
/// fn answer(request: &Request) -> Response {
///     hotdock_sdk::routes!(request, {
///         "/shelf" => { GET: all, POST: add },
///         "/shelf/{number}" => { GET: one },
///     })
/// }
///
/// fn all() -> &'static str {
///     "books"
/// }
///
/// fn add(request: &Request) -> Result<Response, Problem> {
///     json(&request.json::<String>()?)
/// }
///
/// fn one(_: &Request, number: u32) -> String {
///     format!("book {number}")
/// }
///
/// assert_eq!(answer(&request("GET", "/shelf/7", "")).body(), b"book 7");
/// assert_eq!(answer(&request("GET", "/shelf/seven", "")).status(), 404);
/// let refused = answer(&request("PUT", "/shelf", ""));
/// assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"GET, HEAD, POST".parse().unwrap()));
/// ```
///
/// - A function takes nothing, the request, or the request and the path's parameters in their
///   order. What it returns is an [`Answer`](crate::http::Answer).
/// - `{name}` stands for one segment that is not empty, `{*name}`, which comes last, for one or
///   more. A segment becomes a [`Parameter`](crate::http::Parameter) of the function's type;
///   where it can't, the path is not this route's.
/// - The first route that has the path takes it. One that an earlier one leaves nothing to does
///   not compile.
/// - `GET` answers `HEAD`, too: the host leaves the body out. `OPTIONS` is a method like any
///   other; `OPTIONS *`, which asks about the host, never reaches a service.
/// - Any other path is answered with 404, any other method of a path with 405 and `Allow`, as
///   [`Problem`](crate::problem::Problem)s. A last route `_ => refused` gives them to a function
///   of one's own first:
///
/// ```
/// use hotdock_sdk::http::{Request, Response, StatusCode};
/// use hotdock_sdk::problem::Problem;
/// use hotdock_sdk::testing::request;
///
/// /// This service says what is wrong in its own words.
/// fn refused(problem: Problem) -> Response {
///     let mut response = Response::new(b"no".to_vec());
///     *response.status_mut() = problem.status();
///     response
/// }
///
/// fn answer(request: &Request) -> Response {
///     hotdock_sdk::routes!(request, {
///         "/hello" => { GET: || "Hello!" },
///         _ => refused,
///     })
/// }
///
/// assert_eq!(answer(&request("GET", "/bye", "")).body(), b"no");
/// ```
///
/// [`http_handler!`](crate::http_handler) takes routes as well; a function of one's own, as
/// here, is for those who test it.
#[macro_export]
macro_rules! routes {
    ($request:expr, {
        $($pattern:literal => { $($method:ident: $handler:expr),+ $(,)? }),+ $(,)?
    }) => {
        $crate::routes!($request, {
            $($pattern => { $($method: $handler),+ },)+
            _ => ::core::convert::identity::<$crate::problem::Problem>,
        })
    };
    ($request:expr, {
        $($pattern:literal => { $($method:ident: $handler:expr),+ $(,)? },)+
        _ => $refused:expr $(,)?
    }) => {{
        const _: () = $crate::http::route::check(&[$($pattern),+]);
        let request: &$crate::http::Request = $request;
        'answer: {
            $({
                const PARAMETERS: usize = $crate::http::route::parameters($pattern);
                const ALLOW: &str = concat!($(", ", $crate::__allowed!($method)),+).split_at(2).1;
                let matched =
                    $crate::http::route::matched::<PARAMETERS>($pattern, request.path());
                if let ::core::option::Option::Some(segments) = matched {
                    match *request.method() {
                        $($crate::__method!($method) => {
                            let answer =
                                $crate::http::route::Handler::answer(&$handler, request, segments);
                            if let ::core::option::Option::Some(answer) = answer {
                                break 'answer answer;
                            }
                        })+
                        _ => {
                            if $($crate::http::route::Handler::takes(&$handler, segments))||+ {
                                let problem = $crate::problem::Problem::method_not_allowed(
                                    request.method(),
                                    ALLOW,
                                );
                                break 'answer $crate::http::Answer::into_response($refused(problem));
                            }
                        }
                    }
                }
            })+
            let problem = $crate::http::route::nothing_there(request);
            $crate::http::Answer::into_response($refused(problem))
        }
    }};
}

/// The pattern of a method that routes name.
#[doc(hidden)]
#[macro_export]
macro_rules! __method {
    (GET) => {
        $crate::http::Method::GET | $crate::http::Method::HEAD
    };
    (HEAD) => {
        compile_error!("GET answers HEAD, too: name GET alone")
    };
    ($method:ident) => {
        $crate::http::Method::$method
    };
}

/// The same in `Allow`.
#[doc(hidden)]
#[macro_export]
macro_rules! __allowed {
    (GET) => {
        "GET, HEAD"
    };
    ($method:ident) => {
        stringify!($method)
    };
}

/// For [`routes!`](crate::routes) only: 404.
#[must_use]
pub fn nothing_there(request: &Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.path()))
}

#[cfg(test)]
mod tests {
    use crate::http::{Request, Response};
    use crate::problem::Problem;
    use crate::testing::request;

    fn answer(request: &Request) -> Response {
        routes!(request, {
            "/book" => { GET: || "books", POST: |request: &Request| posted(request) },
            "/book/new" => { GET: || "a form" },
            "/book/{id}" => { GET: book, DELETE: book },
            "/book/{id}/page/{page}" => { GET: page },
            "/file/{*path}" => { PUT: file },
        })
    }

    fn posted(request: &Request) -> Result<String, Problem> {
        Ok(String::from_utf8_lossy(request.body()?).into_owned())
    }

    fn book(request: &Request, id: u8) -> String {
        format!("{} {id}", request.method())
    }

    fn page(_: &Request, title: String, page: u8) -> String {
        title + ", " + &page.to_string()
    }

    fn file(_: &Request, path: String) -> String {
        path
    }

    fn answered(method: &str, uri: &str) -> (u16, String) {
        let answer = answer(&request(method, uri, "sent"));
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    fn is_answered(method: &str, uri: &str, body: &str) {
        assert_eq!(answered(method, uri), (200, body.to_owned()), "{method} {uri}");
    }

    #[test]
    fn path_and_method_lead_to_a_function() {
        is_answered("GET", "/book", "books");
        is_answered("HEAD", "/book?any=query", "books");
        is_answered("POST", "/book", "sent");
        is_answered("GET", "/book/new", "a form");
        is_answered("DELETE", "/book/7", "DELETE 7");
        is_answered("GET", "/book/a%20b/page/3", "a b, 3");
        is_answered("PUT", "/file/a/b%2Fc", "a/b/c");
    }

    #[test]
    fn there_is_nothing_at_other_paths() {
        let others = [
            "/",
            "/book/",
            "/book/256",
            "/book/x",
            "/book/7/",
            "/book/7/page",
            "/book/7/page/x",
            "/book/7/page/3/4",
            "/book//page/3",
            "/books",
            "/file",
            "/file/",
            "/book/%FF/page/1",
        ];
        for uri in others {
            for method in ["GET", "PATCH"] {
                let (status, body) = answered(method, uri);
                let detail = format!(r#""detail":"there is nothing at {uri}""#);
                assert!(status == 404 && body.contains(&detail), "{method} {uri}: {body}");
            }
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let cases = [
            ("PUT", "/book", "GET, HEAD, POST"),
            ("OPTIONS", "/book/7", "GET, HEAD, DELETE"),
            ("DELETE", "/book/new", "GET, HEAD"),
            ("GET", "/file/a", "PUT"),
        ];
        for (method, uri, allow) in cases {
            let refused = answer(&request(method, uri, ""));
            assert_eq!(refused.status(), 405, "{method} {uri}");
            assert_eq!(refused.headers()["allow"], allow, "{method} {uri}");
        }
    }

    #[test]
    fn a_service_refuses_in_its_own_words() {
        let answer = |method, uri| {
            let answer = routes!(&request(method, uri, ""), {
                "/book" => { GET: || "books" },
                _ => |problem: Problem| format!("{} {:?}", problem.status(), problem.allow()),
            });
            String::from_utf8(answer.into_body()).expect("text")
        };
        assert_eq!(answer("GET", "/book"), "books");
        assert_eq!(answer("GET", "/"), "404 Not Found None");
        assert_eq!(answer("PUT", "/book"), r#"405 Method Not Allowed Some("GET, HEAD")"#);
    }
}
