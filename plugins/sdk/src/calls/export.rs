//! Functions for other services.

/// Makes functions of this service those of an interface, which other services call:
///
/// ```
/// hotdock_sdk::export! {
///     mod stocks = shop::stock::stocks in "wit/stock" {
///         fn take(product: String, count: u32) -> Result<u32, String> = take;
///     }
/// }
///
/// /// What it writes is kept with the result, before the caller has it; with an error nothing is.
/// fn take(product: String, count: u32) -> Result<u32, String> {
///     9_u32.checked_sub(count).ok_or_else(|| format!("there are 9 of {product} left"))
/// }
/// ```
///
/// `shop::stock::stocks` is the interface `shop:stock/stocks`; the folder, seen from the
/// crate's `Cargo.toml`, has its package, with a world `service`. All of the interface's functions
/// are listed, as `wit-bindgen` has them in Rust, where they own what they are given; behind each
/// is the function that does it, or a closure. The module has the interface's types. What doesn't
/// fit the WIT doesn't compile.
///
/// Elsewhere than in WebAssembly, where tests run, nothing is exported. To be used once for an
/// interface. A service that awaits takes `wit-bindgen` itself.
#[macro_export]
macro_rules! export {
    (
        $(#[$attribute:meta])*
        $visibility:vis mod $name:ident = $($segment:ident)::+ in $folder:literal {
            $(
                fn $function:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
                    = $does:expr;
            )+
        }
    ) => {
        $(#[$attribute])*
        $visibility mod $name {
            #[allow(missing_docs, reason = "generated; the WIT file is the documentation")]
            pub(super) mod bindings {
                $crate::calls::wit_bindgen::generate!({
                    path: $folder,
                    world: "service",
                    runtime_path: "::hotdock_sdk::calls::wit_bindgen::rt",
                    additional_derives: [PartialEq],
                    generate_all,
                });
            }

            pub use self::bindings::exports::$($segment)::+::*;
        }

        const _: () = {
            #[allow(unused_imports, reason = "an interface need not have types")]
            use $name::*;

            #[allow(dead_code, reason = "natively nothing is exported")]
            struct Service;

            impl $name::Guest for Service {
                $(
                    fn $function($($argument: $type),*) $(-> $result)? {
                        // So that a closure knows its arguments' types.
                        let does: fn($($type),*) $(-> $result)? = $does;
                        does($($argument),*)
                    }
                )+
            }

            #[cfg(target_family = "wasm")]
            $name::bindings::export!(Service with_types_in $name::bindings);
        };
    };
}
