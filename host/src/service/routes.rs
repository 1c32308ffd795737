//! The route table: which service answers a host, path and method.
//!
//! A route matches whole path segments (RFC 3986 §3.3): `/cart` matches `/cart`
//! and `/cart/7`, not `/cartoon`. The longest matching path wins; among routes
//! of one path, one with the request's host wins over one without; then the
//! method decides. Where `GET` is taken so is `HEAD` (RFC 9110 §9.1), unless another route
//! names that.
//!
//! Paths and hosts are compared as RFC 3986 §6.2.2 has it, whatever their spelling. A path that
//! some read otherwise (`//admin`, `/x/../admin`, `/x%2Fadmin`) leads to a service only where
//! that makes no difference.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;

use http::Method;
use http::request::Parts;

use super::path;
use crate::manifest::Route;
use crate::name::ServiceName;

/// All routes of all services. Immutable; rebuilt when a deployment changes them.
#[derive(Debug, Default)]
pub struct RouteTable {
    by_path: HashMap<String, Vec<Entry>>,
    deepest: usize,
    names_hosts: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    service: ServiceName,
    host: Option<String>,
    methods: Option<Vec<Method>>,
}

/// What a request's host, path and method lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteMatch<'a> {
    /// This service answers.
    Service(&'a ServiceName),
    /// The path is known, but not with this method; these are allowed.
    MethodNotAllowed(Vec<Method>),
    /// Who reads the path otherwise would be led elsewhere.
    Ambiguous,
    /// No service has the path.
    NotFound,
}

/// Two services claim the same requests.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("route {route} is already served by {holder}")]
pub struct RouteConflict {
    /// Host, path and methods as text.
    pub route: String,
    /// The service that wanted it.
    pub claimant: ServiceName,
    /// The service that has it.
    pub holder: ServiceName,
}

impl RouteTable {
    /// The table of these services' routes, and every conflict among them. Of
    /// two that claim the same requests the earlier keeps them.
    pub fn build<'a>(
        services: impl IntoIterator<Item = (&'a ServiceName, &'a [Route])>,
    ) -> (Self, Vec<RouteConflict>) {
        let mut table = Self::default();
        let mut conflicts = Vec::new();
        for (service, routes) in services {
            for route in routes {
                if let Err(conflict) = table.insert(service, route) {
                    conflicts.push(conflict);
                }
            }
        }
        (table, conflicts)
    }

    /// The routes of one service's versions, by path and method alone: who asks for the service
    /// by its name does not ask for a host.
    pub fn of_service<'a>(
        name: &ServiceName,
        routes: impl IntoIterator<Item = &'a [Route]>,
    ) -> Self {
        let mut table = Self::default();
        for route in routes.into_iter().flatten() {
            let anywhere = Route { host: None, ..route.clone() };
            table.insert(name, &anywhere).expect("a service is in nobody's way but others'");
        }
        table
    }

    /// Whether the host makes a difference to any of them.
    #[must_use]
    pub fn names_hosts(&self) -> bool {
        self.names_hosts
    }

    /// The service that answers `method` on `path` at `host` (without port,
    /// in any spelling). `path` is as the client sent it, without query.
    #[must_use]
    pub fn find(&self, host: Option<&str>, path: &str, method: &Method) -> RouteMatch<'_> {
        let path = path::normal(path);
        let host = host.map(canonical);
        let found = self.look_up(host.as_deref(), &path, method);
        match path::resolved(&path) {
            Some(other) if self.look_up(host.as_deref(), &other, method) != found => {
                RouteMatch::Ambiguous
            }
            _ => found,
        }
    }

    fn look_up(&self, host: Option<&str>, path: &str, method: &Method) -> RouteMatch<'_> {
        let mut allowed = Vec::new();
        for prefix in prefixes(path, self.deepest) {
            let Some(entries) = self.by_path.get(prefix) else { continue };
            let of_host =
                |entry: &&Entry| entry.host.is_some() && is_host(entry.host.as_deref(), host);
            let with_host = entries.iter().filter(of_host);
            let without = entries.iter().filter(|entry| entry.host.is_none());
            if let Some(service) = taker(with_host, method, &mut allowed)
                .or_else(|| taker(without, method, &mut allowed))
            {
                return RouteMatch::Service(service);
            }
            if !allowed.is_empty() {
                return RouteMatch::MethodNotAllowed(allowed);
            }
        }
        RouteMatch::NotFound
    }

    fn insert(&mut self, service: &ServiceName, route: &Route) -> Result<(), RouteConflict> {
        let path = path::normal(&route.path);
        let path = without_slash(&path);
        let host = route.host.as_deref().map(|host| canonical(host).into_owned());
        self.deepest = self.deepest.max(depth(path));
        self.names_hosts |= host.is_some();
        let entries = self.by_path.entry(path.to_owned()).or_default();
        let claimed = entries.iter().find(|entry| {
            entry.host == host && overlap(entry.methods.as_deref(), route.methods.as_deref())
        });
        if let Some(holder) = claimed.filter(|entry| entry.service != *service) {
            return Err(RouteConflict {
                route: shown(route),
                claimant: service.clone(),
                holder: holder.service.clone(),
            });
        }
        let entry = Entry { service: service.clone(), host, methods: route.methods.clone() };
        // Versions that share the traffic mostly have the same routes.
        if !entries.contains(&entry) {
            entries.push(entry);
        }
        Ok(())
    }
}

/// Who takes requests with this method; where nobody does, what is taken goes to `allowed`.
fn taker<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    method: &Method,
    allowed: &mut Vec<Method>,
) -> Option<&'a ServiceName> {
    let mut by_get = None;
    for entry in entries {
        let Some(methods) = &entry.methods else { return Some(&entry.service) };
        if methods.contains(method) {
            return Some(&entry.service);
        }
        if takes(methods, method) {
            by_get.get_or_insert(&entry.service);
        }
        for method in methods {
            allow(allowed, method);
        }
        if methods.contains(&Method::GET) {
            allow(allowed, &Method::HEAD);
        }
    }
    by_get
}

fn takes(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
}

fn allow(allowed: &mut Vec<Method>, method: &Method) {
    if !allowed.contains(method) {
        allowed.push(method.clone());
    }
}

/// Whether one of a version's routes leads to it with this request.
/// `at_any_host`: whatever host it is for.
pub(super) fn leads_to(routes: &[Route], head: &Parts, at_any_host: bool) -> bool {
    let path = path::normal(head.uri.path());
    let path = without_slash(&path);
    let host = head.uri.host().map(canonical);
    routes.iter().any(|route| {
        let prefix = path::normal(&route.path);
        let rest = path.strip_prefix(without_slash(&prefix));
        let at_host = route.host.as_deref().map(canonical);
        let at_host =
            at_any_host || at_host.is_none() || is_host(at_host.as_deref(), host.as_deref());
        let method = route.methods.as_ref().is_none_or(|methods| takes(methods, &head.method));
        at_host && method && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn is_host(wanted: Option<&str>, asked: Option<&str>) -> bool {
    matches!((wanted, asked), (Some(wanted), Some(asked)) if asked.eq_ignore_ascii_case(wanted))
}

/// A host without the dot that some names end with (RFC 1034 §3.1), and an address in the one
/// spelling of RFC 5952. Names stay in the case that they are in.
pub(crate) fn canonical(host: &str) -> Cow<'_, str> {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        Some(address) => Cow::Owned(format!("[{address}]")),
        None => Cow::Borrowed(host.strip_suffix('.').unwrap_or(host)),
    }
}

/// The path itself, then ever shorter prefixes of whole segments, then the root
/// (the empty text). Paths deeper than any route are cut first, so that a
/// request costs no more than the deepest route.
fn prefixes(path: &str, deepest: usize) -> impl Iterator<Item = &str> {
    let cut = path.match_indices('/').nth(deepest + 1).map_or(path, |(index, _)| &path[..index]);
    let mut rest = Some(without_slash(cut));
    std::iter::from_fn(move || {
        let current = rest?;
        rest = current.rfind('/').map(|index| &current[..index]);
        Some(current)
    })
}

/// A path without its trailing slash; the root is the empty text.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

fn overlap(a: Option<&[Method]>, b: Option<&[Method]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        _ => true,
    }
}

fn shown(route: &Route) -> String {
    struct Shown<'a>(&'a Route);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if let Some(methods) = &self.0.methods {
                let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
                write!(f, "{} ", methods.join(","))?;
            }
            write!(f, "{}{}", self.0.host.as_deref().unwrap_or_default(), self.0.path)
        }
    }
    Shown(route).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Route {
        Route { path: path.to_owned(), host: None, methods: None }
    }

    fn table(services: &[(&str, Vec<Route>)]) -> (RouteTable, Vec<RouteConflict>) {
        let named: Vec<(ServiceName, Vec<Route>)> = services
            .iter()
            .map(|(name, routes)| (name.parse().expect("a name"), routes.clone()))
            .collect();
        RouteTable::build(named.iter().map(|(name, routes)| (name, routes.as_slice())))
    }

    fn found(table: &RouteTable, host: Option<&str>, path: &str) -> Option<String> {
        match table.find(host, path, &Method::GET) {
            RouteMatch::Service(service) => Some(service.to_string()),
            _ => None,
        }
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let (table, conflicts) = table(&[
            ("cart", vec![route("/cart")]),
            ("items", vec![route("/cart/items")]),
            ("root", vec![route("/other/"), route("/")]),
        ]);
        assert!(conflicts.is_empty());
        let served = |path| found(&table, None, path).expect("a service");
        assert_eq!(served("/cart"), "cart");
        assert_eq!(served("/cart/"), "cart");
        assert_eq!(served("/cart/7"), "cart");
        assert_eq!(served("/cart/items"), "items");
        assert_eq!(served("/cart/items/a/b/c/d"), "items");
        assert_eq!(served("/cart/itemsfoo"), "cart");
        assert_eq!(served("/cartoon"), "root");
        assert_eq!(served("/other"), "root");
        assert_eq!(served("/"), "root");
    }

    #[test]
    fn nothing_is_found_where_nothing_is_deployed() {
        let (table, _) = table(&[("cart", vec![route("/cart")])]);
        assert_eq!(table.find(None, "/", &Method::GET), RouteMatch::NotFound);
        assert_eq!(table.find(None, "/order", &Method::GET), RouteMatch::NotFound);
        assert_eq!(table.find(None, "*", &Method::OPTIONS), RouteMatch::NotFound);
    }

    #[test]
    fn a_host_wins_over_no_host_and_methods_are_named_in_a_refusal() {
        let host = |host: &str| Route { host: Some(host.to_owned()), ..route("/cart") };
        let only_get = Route { methods: Some(vec![Method::GET, Method::HEAD]), ..route("/read") };
        let (table, _) =
            table(&[("any", vec![route("/cart"), only_get]), ("shop", vec![host("shop.example")])]);
        assert_eq!(found(&table, Some("shop.example"), "/cart").as_deref(), Some("shop"));
        assert_eq!(found(&table, Some("other.example"), "/cart").as_deref(), Some("any"));
        assert_eq!(
            table.find(None, "/read/x", &Method::POST),
            RouteMatch::MethodNotAllowed(vec![Method::GET, Method::HEAD])
        );
    }

    #[test]
    fn who_takes_get_takes_head_unless_another_does() {
        let with = |methods: &[Method]| Route { methods: Some(methods.to_vec()), ..route("/a") };
        let (alone, _) = table(&[("one", vec![with(&[Method::GET])])]);
        let name = "one".parse().expect("a name");
        assert_eq!(alone.find(None, "/a", &Method::HEAD), RouteMatch::Service(&name));
        assert_eq!(
            alone.find(None, "/a", &Method::PUT),
            RouteMatch::MethodNotAllowed(vec![Method::GET, Method::HEAD])
        );
        let (both, _) =
            table(&[("one", vec![with(&[Method::GET])]), ("two", vec![with(&[Method::HEAD])])]);
        let other = "two".parse().expect("a name");
        assert_eq!(both.find(None, "/a", &Method::HEAD), RouteMatch::Service(&other));
    }

    #[test]
    fn a_path_leads_to_one_service_however_it_is_spelled_or_to_none() {
        let (table, _) = table(&[
            ("admin", vec![route("/admin")]),
            ("proxy", vec![route("/proxy")]),
            ("root", vec![route("/")]),
        ]);
        let asked = |path| table.find(None, path, &Method::GET);
        for path in ["/admin", "/%61dmin", "/%41dmin/../x"] {
            assert_ne!(asked(path), RouteMatch::NotFound, "{path}");
        }
        assert_eq!(found(&table, None, "/%61dmin/x").as_deref(), Some("admin"));
        assert_eq!(found(&table, None, "/%2561dmin").as_deref(), Some("root"));
        assert_eq!(found(&table, None, "/proxy/https://a/./b").as_deref(), Some("proxy"));
        for path in [
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/admin/../x",
            "/proxy/..%2fadmin",
            "/x%5c..%5cadmin",
            "/%2fadmin",
        ] {
            assert_eq!(asked(path), RouteMatch::Ambiguous, "{path}");
        }
    }

    #[test]
    fn a_host_is_the_same_however_it_is_spelled() {
        let host = |host: &str| Route { host: Some(host.to_owned()), ..route("/") };
        let (table, _) =
            table(&[("shop", vec![host("shop.example")]), ("six", vec![host("[2001:db8:0::1]")])]);
        for name in ["shop.example", "SHOP.example.", "Shop.Example"] {
            assert_eq!(found(&table, Some(name), "/").as_deref(), Some("shop"), "{name}");
        }
        for name in ["[2001:db8::1]", "[2001:0DB8:0:0::1]"] {
            assert_eq!(found(&table, Some(name), "/").as_deref(), Some("six"), "{name}");
        }
        assert_eq!(found(&table, Some("shop.example.."), "/"), None);
    }

    #[test]
    fn by_its_name_a_service_has_its_own_routes_at_any_host() {
        let name = "shop".parse().expect("a name");
        let methods = Some(vec![Method::GET]);
        let at_host = Route { host: Some("shop.example".to_owned()), methods, ..route("/shop") };
        let more = [at_host.clone(), route("/more")];
        let table = RouteTable::of_service(&name, [&[at_host][..], &more]);
        for path in ["/shop", "/shop/7", "/more"] {
            assert_eq!(found(&table, None, path).as_deref(), Some("shop"), "{path}");
        }
        assert_eq!(found(&table, None, "/other"), None);
        assert_eq!(table.find(None, "/x/../more", &Method::GET), RouteMatch::Ambiguous);
        let refused = table.find(None, "/shop", &Method::POST);
        assert_eq!(refused, RouteMatch::MethodNotAllowed(vec![Method::GET, Method::HEAD]));
    }

    #[test]
    fn two_services_cannot_claim_the_same_requests() {
        let get = Route { methods: Some(vec![Method::GET]), ..route("/a") };
        let post = Route { methods: Some(vec![Method::POST]), ..route("/a") };
        let (table, conflicts) =
            table(&[("one", vec![get.clone()]), ("two", vec![post]), ("three", vec![get])]);
        assert_eq!(conflicts.len(), 1);
        assert_eq!(conflicts[0].to_string(), "route GET /a is already served by one");
        assert_eq!(found(&table, None, "/a").as_deref(), Some("one"));
    }
}
