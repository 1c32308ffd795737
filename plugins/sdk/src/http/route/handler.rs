//! Functions that answer requests to a route.

use super::Parameter;
use crate::http::{Answer, Request, Response};

/// A function that answers requests to a route with so many parameters.
#[diagnostic::on_unimplemented(
    message = "this function does not fit its route",
    note = "it takes nothing, `&Request`, or `&Request` and a `Parameter` for each of the path's",
    note = "what it returns is an `Answer`: `Response`, `Result<Response, Problem>`, a text, …"
)]
pub trait Handler<Arguments, const PARAMETERS: usize> {
    /// The answer, if the segments are what the function takes.
    fn answer(&self, request: &Request, segments: [&str; PARAMETERS]) -> Option<Response>;

    /// Whether they are.
    fn takes(&self, segments: [&str; PARAMETERS]) -> bool;
}

impl<F, A, const PARAMETERS: usize> Handler<(), PARAMETERS> for F
where
    F: Fn() -> A,
    A: Answer,
{
    fn answer(&self, _: &Request, _: [&str; PARAMETERS]) -> Option<Response> {
        Some(self().into_response())
    }

    fn takes(&self, _: [&str; PARAMETERS]) -> bool {
        true
    }
}

impl<F, A, const PARAMETERS: usize> Handler<(Request,), PARAMETERS> for F
where
    F: Fn(&Request) -> A,
    A: Answer,
{
    fn answer(&self, request: &Request, _: [&str; PARAMETERS]) -> Option<Response> {
        Some(self(request).into_response())
    }

    fn takes(&self, _: [&str; PARAMETERS]) -> bool {
        true
    }
}

macro_rules! with_parameters {
    ($count:literal: $($parameter:ident $segment:ident),+) => {
        impl<F, A, $($parameter),+> Handler<(Request, $($parameter),+), $count> for F
        where
            F: Fn(&Request, $($parameter),+) -> A,
            A: Answer,
            $($parameter: Parameter,)+
        {
            fn answer(&self, request: &Request, segments: [&str; $count]) -> Option<Response> {
                let [$($segment),+] = segments;
                Some(self(request, $($parameter::of_segment($segment)?),+).into_response())
            }

            fn takes(&self, segments: [&str; $count]) -> bool {
                let [$($segment),+] = segments;
                $($parameter::of_segment($segment).is_some())&&+
            }
        }
    };
}

with_parameters!(1: P first);
with_parameters!(2: P first, Q second);
with_parameters!(3: P first, Q second, R third);
with_parameters!(4: P first, Q second, R third, S fourth);
