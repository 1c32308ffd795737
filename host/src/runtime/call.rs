//! One call into an instance, whichever of its exports it is for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use tokio::sync::Notify;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttpView, p2, p3};

use super::account::{Account, Leaving};
use super::answer::{AnswerBody, has_content};
use super::component::{RequestInterface, Servable};
use super::entry::{EventGuest, Guest, RequestGuest};
use super::exchange::{Exchange, Given};
use super::function::FunctionCall;
use super::handlers::AsyncHandling;
use super::handlers::types::Delivery;
use super::instance::InstanceState;
use super::limits::LimitReached;
use super::pool::Pool;
use super::run::Ended;
use super::{function, trace, whole};
use crate::escape::cut;

/// Bytes of an error of `wasi:http` that a guest answers with.
const MAX_ERROR_CODE: usize = 4 << 10;

/// What a guest is called with.
pub(crate) enum Call {
    /// A request's head; its body is where it meets the host.
    Request(Parts),
    /// The same of one that is handed over whole.
    Whole(whole::Head),
    Delivery(Box<Delivery>),
    /// Of a function by another service.
    Function(Box<FunctionCall>),
}

impl Call {
    /// A request, to be handed over as this program takes requests.
    pub(crate) fn of_request(servable: Servable, head: &Arc<Parts>) -> Self {
        match servable.requests {
            Some(RequestInterface::Whole) => Self::Whole(whole::Head::of(head)),
            _ => Self::Request(Parts::clone(head)),
        }
    }

    /// Whether it asks for a head alone.
    fn is_head(&self) -> bool {
        matches!(self, Self::Request(head) if head.method == Method::HEAD)
    }

    fn trace(&self) -> Option<String> {
        match self {
            Self::Request(head) => trace::of_request(&head.headers),
            Self::Whole(head) => head.trace.clone(),
            Self::Delivery(delivery) => trace::of_delivery(delivery),
            Self::Function(call) => call.trace.clone(),
        }
    }
}

/// Takes an instance, calls it and waits for all that it does then. Its answer
/// is where it meets the host.
pub(crate) async fn call(
    pool: Pool,
    what: Call,
    exchange: Exchange,
    body_sent: Arc<Notify>,
) -> Ended {
    // Before it takes an instance: a client may be slow.
    let body = match &what {
        Call::Whole(_) => match exchange.body().whole().await {
            Ok(body) => body,
            Err(broken) => return Ended { instance: None, result: Err(broken.into()) },
        },
        Call::Request(_) | Call::Delivery(_) | Call::Function(_) => Bytes::new(),
    };
    let mut instance = match pool.take().await {
        Ok(instance) => instance,
        Err(error) => return Ended { instance: None, result: Err(error) },
    };
    let state = instance.store.data_mut();
    state.enter(exchange.clone(), what.trace());
    state.is_head = what.is_head();
    instance.store.set_epoch_deadline(1);
    let account = Arc::clone(&instance.store.data().account);
    let store = &mut instance.store;
    let result = {
        let guest = pin!(async {
            match (what, &instance.guest) {
                (Call::Request(head), Guest { requests: Some(guest), .. }) => match guest {
                    RequestGuest::P2(guest) => {
                        call_p2(store, guest, head, exchange, &account).await
                    }
                    // Boxed, as the other below, so that those who are called plainly don't
                    // carry it.
                    RequestGuest::P3(guest) => {
                        Box::pin(call_p3(store, guest, head, exchange, body_sent, &account)).await
                    }
                    RequestGuest::Whole(_) => Err(wasmtime::Error::msg("it takes requests whole")),
                },
                (Call::Whole(head), Guest { requests: Some(RequestGuest::Whole(guest)), .. }) => {
                    whole::call(store, guest, &head, &body, &exchange, &account).await
                }
                (Call::Delivery(delivery), Guest { events: Some(guest), .. }) => match guest {
                    EventGuest::Sync(guest) => {
                        let guest = guest.hotdock_events_handler();
                        let handled = guest.call_handle(store, &delivery).await;
                        handled.map(|verdict| exchange.answer(Given::Verdict(verdict)))
                    }
                    EventGuest::Async(guest) => {
                        Box::pin(call_async(store, guest, *delivery, exchange)).await
                    }
                },
                // Boxed, so that requests don't carry it.
                (Call::Function(call), Guest { instance, .. }) => {
                    let program = pool.program();
                    Box::pin(function::call(store, program, instance, call, &exchange, &account))
                        .await
                }
                (Call::Request(_) | Call::Whole(_), _) => {
                    Err(wasmtime::Error::msg("the component takes no requests"))
                }
                (Call::Delivery(_), _) => {
                    Err(wasmtime::Error::msg("the component takes no events"))
                }
            }
        });
        account.run(guest).await
    };
    let state = instance.store.data_mut();
    let result = result.map_err(|error| state.limits.explain(error));
    if let Err(error) = &result
        && let Some(LimitReached(limit)) = error.downcast_ref()
    {
        pool.limits_reached().note(limit.name());
    }
    state.leave();
    Ended { instance: Some(instance), result }
}

async fn call_p2(
    store: &mut Store<InstanceState>,
    guest: &p2::bindings::Proxy,
    head: Parts,
    exchange: Exchange,
    account: &Arc<Account>,
) -> wasmtime::Result<()> {
    let scheme = match head.uri.scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let request = http::Request::from_parts(head, exchange.body().reader());
    let mut view = store.data_mut().http();
    let request = view.new_incoming_request(scheme, request)?;
    let account = Arc::clone(account);
    let out = view.new_response_outparam_from_callback(move |response| {
        let leaving = |body| AnswerBody::Coming(Leaving::body(body, &account));
        let response = response.map(|response| response.map(leaving));
        exchange.answer(Given::Response(response.map_err(|code| words_of(&code))));
    })?;
    guest.wasi_http_incoming_handler().call_handle(store, request, out).await
}

async fn call_p3(
    store: &mut Store<InstanceState>,
    guest: &p3::bindings::Service,
    head: Parts,
    exchange: Exchange,
    body_sent: Arc<Notify>,
    account: &Arc<Account>,
) -> wasmtime::Result<()> {
    let is_head = head.method == Method::HEAD;
    let request = http::Request::from_parts(head, exchange.body().reader());
    let (request, received) = p3::Request::from_http(store.data_mut().http().hooks, request);
    store
        .run_concurrent(async |accessor| {
            match guest.handle(accessor, request).await? {
                Ok(response) => {
                    let response =
                        accessor.with(|access| into_http(access, response, received, is_head))?;
                    exchange.answer(Given::Response(Ok(
                        response.map(|body| AnswerBody::Coming(Leaving::body(body, account)))
                    )));
                    // The body is moved by this store's event loop, so the loop
                    // goes on until it is sent.
                    body_sent.notified().await;
                }
                Err(code) => exchange.answer(Given::Response(Err(words_of(&code)))),
            }
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}

/// What a guest says that its error is, as far as anyone reads it.
fn words_of(code: &impl std::fmt::Debug) -> String {
    cut(format_args!("{code:?}"), MAX_ERROR_CODE)
}

/// The same for the host. Of one without content its `Content-Length` promises nothing, so that
/// its body is not held to that.
fn into_http(
    mut access: impl AsContextMut<Data = InstanceState>,
    mut response: p3::Response,
    received: impl Future<Output = Result<(), Error>> + Send + 'static,
    is_head: bool,
) -> wasmtime::Result<Response<WasiBody>> {
    if has_content(is_head, response.status) || !response.headers.contains_key(CONTENT_LENGTH) {
        return response.into_http(access, received);
    }
    let mut headers = HeaderMap::from(std::mem::take(&mut response.headers));
    let length = headers.remove(CONTENT_LENGTH);
    let mut context = access.as_context_mut();
    response.headers = FieldMap::new_immutable(context.data_mut().http().hooks, headers);
    let mut response = response.into_http(context, received)?;
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    Ok(response)
}

async fn call_async(
    store: &mut Store<InstanceState>,
    guest: &AsyncHandling,
    delivery: Delivery,
    exchange: Exchange,
) -> wasmtime::Result<()> {
    store
        .run_concurrent(async |accessor| {
            let handler = guest.hotdock_events_async_handler();
            let verdict = handler.call_handle(accessor, delivery).await?;
            exchange.answer(Given::Verdict(verdict));
            // What it left behind to be done.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
