use std::collections::BTreeMap;

use super::*;
use crate::manifest::ManifestText;
use crate::runtime::functions::{Shape, Signature};

/// A version, kept for its contract.
struct Kept {
    manifest: Manifest,
    provides: Vec<Interface>,
    uses: Vec<Interface>,
}

impl Kept {
    fn contract(&self) -> Contract<'_> {
        Contract { manifest: &self.manifest, provides: &self.provides, uses: &self.uses }
    }
}

/// An interface with one function from a number.
fn interface(name: &str, takes: Shape) -> Interface {
    let params = vec![("id".to_owned(), takes)];
    let get = Signature { params, result: None, is_async: false };
    let functions = BTreeMap::from([("get".to_owned(), get)]);
    Interface { name: name.to_owned(), functions, ..Interface::default() }
}

fn kept(manifest: &str, provides: &[&str], uses: &[&str]) -> Kept {
    let text = ManifestText { file: "a.toml".to_owned(), text: manifest.to_owned() };
    let interfaces =
        |names: &[&str]| names.iter().map(|name| interface(name, Shape::U64)).collect();
    Kept {
        manifest: Manifest::read("a", Some(&text)).expect("a manifest"),
        provides: interfaces(provides),
        uses: interfaces(uses),
    }
}

fn calls(services: &str) -> String {
    format!("[capabilities]\ncalls = [{services}]\n")
}

fn name(service: &str) -> ServiceName {
    service.parse().expect("a name")
}

fn deployed<'a>(services: &[(&str, &'a Kept)]) -> Contracts<'a> {
    let mut contracts = Contracts::default();
    for (service, kept) in services {
        contracts.serve(name(service), vec![kept.contract()]);
    }
    contracts
}

const CARTS: &str = "shop:cart/carts@1.0.0";

#[test]
fn an_import_leads_to_the_one_that_exports_a_compatible_version() {
    let (cart, other) = (kept("", &["shop:cart/carts@1.3.0"], &[]), kept("", &["a:b/c"], &[]));
    let order = kept(&calls(r#""cart", "other", "gone""#), &[], &[CARTS]);
    let contracts = deployed(&[("cart", &cart), ("other", &other)]);
    assert_eq!(contracts.callee(order.contract(), &order.uses[0]), Ok(name("cart")));
    assert_eq!(contracts.callees(order.contract()), BTreeMap::from([(CARTS.into(), name("cart"))]));
    let newer = kept("", &["shop:cart/carts@2.0.0"], &[]);
    let contracts = deployed(&[("cart", &newer), ("other", &other)]);
    let unmet = contracts.unmet(order.contract());
    assert!(unmet[0].waits());
    assert_eq!(
        unmet[0].to_string(),
        "waits for a service that exports shop:cart/carts@1.x: cart does not export it, gone is \
         not deployed, other does not export it"
    );
}

#[test]
fn who_may_not_be_called_is_told_what_to_add() {
    let (cart, stock) = (kept("", &[CARTS], &[]), kept("", &[], &[]));
    let contracts = deployed(&[("cart", &cart), ("stock", &stock)]);
    for manifest in [String::new(), calls(r#""stock""#)] {
        let order = kept(&manifest, &[], &[CARTS]);
        let unmet = contracts.unmet(order.contract());
        assert!(!unmet[0].waits());
        assert_eq!(
            unmet[0].to_string(),
            "import shop:cart/carts@1.0.0 is exported by cart, which may not be called: add `cart` \
             to `[capabilities] calls`"
        );
    }
    let order = kept("", &[], &["shop:lists/lists@1.0.0"]);
    assert_eq!(
        contracts.unmet(order.contract())[0].to_string(),
        "import shop:lists/lists@1.0.0 is not provided by the host, and no service may be called \
         for it: name the one that exports it under `[capabilities] calls`, or build the \
         component without it"
    );
}

#[test]
fn of_several_the_manifest_says_which() {
    let (one, two) = (kept("", &[CARTS], &[]), kept("", &[CARTS], &[]));
    let contracts = deployed(&[("one", &one), ("two", &two)]);
    let manifest = calls(r#""one", "two""#);
    let order = kept(&manifest, &[], &[CARTS]);
    let unmet = contracts.unmet(order.contract());
    assert!(!unmet[0].waits());
    assert_eq!(
        unmet[0].to_string(),
        "import shop:cart/carts@1.0.0 is exported by one and two: say which of them is called, as \
         in `[imports] \"shop:cart/carts\" = \"one\"`"
    );
    let order = kept(&format!("{manifest}[imports]\n\"shop:cart/carts\" = \"two\""), &[], &[CARTS]);
    assert_eq!(contracts.callee(order.contract(), &order.uses[0]), Ok(name("two")));
}

#[test]
fn other_types_are_told_and_not_waited_for() {
    let cart = Kept { provides: vec![interface(CARTS, Shape::String)], ..kept("", &[], &[]) };
    let order = kept(&calls(r#""cart""#), &[], &[CARTS]);
    let unmet = deployed(&[("cart", &cart)]).unmet(order.contract());
    assert!(!unmet[0].waits());
    assert_eq!(
        unmet[0].to_string(),
        "import shop:cart/carts@1.0.0 is not what cart exports: get is func(id: string), and \
         func(id: u64) is wanted"
    );
}

#[test]
fn one_that_has_only_some_of_the_functions_is_a_rival_all_the_same() {
    let both = |name: &str, takes: Shape| {
        let mut whole = interface(name, Shape::U64);
        let other = interface(name, takes).functions.remove("get").expect("it has one");
        whole.functions.insert("put".to_owned(), other);
        whole
    };
    let with = |provided: Interface| Kept { provides: vec![provided], ..kept("", &[], &[]) };
    let (cart, rival) = (with(both(CARTS, Shape::U64)), with(both(CARTS, Shape::Bool)));
    let order = kept(&calls(r#""cart", "rival""#), &[], &[]);
    let order = Kept { uses: vec![both(CARTS, Shape::U64)], ..order };
    let contracts = deployed(&[("cart", &cart), ("rival", &rival)]);
    let unmet = contracts.unmet(order.contract());
    assert!(matches!(&unmet[0], NoCallee::Ambiguous { exported_by, .. } if exported_by.len() == 2));
    let unmet = deployed(&[("rival", &rival)]).unmet(order.contract());
    assert!(matches!(&unmet[0], NoCallee::Misfits { misfits, .. } if misfits.len() == 1));
}

#[test]
fn every_version_with_traffic_has_to_export_it() {
    let (old, new) = (kept("", &[], &[]), kept("", &[CARTS], &[]));
    let order = kept(&calls(r#""cart""#), &[], &[CARTS]);
    let mut contracts = Contracts::default();
    contracts.serve(name("cart"), vec![new.contract(), old.contract()]);
    let unmet = contracts.unmet(order.contract());
    assert!(unmet[0].waits(), "{unmet:?}");
    assert!(unmet[0].to_string().ends_with("not every version of cart with traffic does"));
}

#[test]
fn who_takes_an_interface_away_is_told_whose_it_is() {
    let (cart, less) = (kept("", &[CARTS], &[]), kept("", &[], &[]));
    let order = kept(&calls(r#""cart""#), &[], &[CARTS]);
    let before = deployed(&[("cart", &cart), ("order", &order)]);
    let broken = |after: &Contracts<'_>| -> Vec<String> {
        before.broken_by(after).iter().map(ToString::to_string).collect()
    };
    let expected =
        ["order imports shop:cart/carts@1.0.0 from cart, and no service that it may call would \
         export it; deploy a version of order that does without that first, or undeploy it"];
    assert_eq!(broken(&deployed(&[("cart", &less), ("order", &order)])), expected);
    assert_eq!(broken(&deployed(&[("order", &order)])), expected);
    let other = Kept { provides: vec![interface(CARTS, Shape::Bool)], ..kept("", &[], &[]) };
    let changed = broken(&deployed(&[("cart", &other), ("order", &order)]));
    assert!(changed[0].contains("get is func(id: bool), and func(id: u64) is wanted"));
    // A dependent that is gone, or replaced by one that does without it, loses nothing.
    assert_eq!(broken(&deployed(&[("cart", &less)])), [""; 0]);
    let without = kept("", &[], &[]);
    assert_eq!(broken(&deployed(&[("cart", &less), ("order", &without)])), [""; 0]);
    // A second one of them would make it ambiguous.
    let both = kept(&calls(r#""cart", "stock""#), &[], &[CARTS]);
    let before = deployed(&[("cart", &cart), ("order", &both), ("stock", &less)]);
    let after = deployed(&[("cart", &cart), ("order", &both), ("stock", &cart)]);
    let broken = before.broken_by(&after);
    assert!(broken[0].to_string().contains("cart and stock would export it"), "{broken:?}");
}

#[test]
fn those_that_need_each_other_go_live_together() {
    let names = ["a:a/a@1.0.0", "b:b/b@1.0.0", "c:c/c@1.0.0"];
    let a = kept(&calls(r#""b""#), &names[..1], &names[1..2]);
    let b = kept(&calls(r#""a""#), &names[1..2], &names[..1]);
    // It needs one of the circle and one that is not there.
    let d = kept(&calls(r#""a", "c""#), &[], &[names[0], names[2]]);
    let waiting: BTreeMap<_, _> = [("a", &a), ("b", &b), ("d", &d)]
        .map(|(service, kept)| (name(service), vec![kept.contract()]))
        .into();
    let (together, then) = Contracts::default().with_most(&waiting);
    assert_eq!(together, [name("a"), name("b")].into());
    assert_eq!(then.services().count(), 2);
    let c = kept("", &names[2..], &[]);
    let (together, _) = deployed(&[("c", &c)]).with_most(&waiting);
    assert_eq!(together.len(), 3);
    let alone = BTreeMap::from([(name("a"), vec![a.contract()])]);
    assert!(Contracts::default().with_most(&alone).0.is_empty());
}
