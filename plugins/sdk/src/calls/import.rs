//! Functions of other services.

/// Makes functions of another service callable, in a module with the types of their interface:
///
/// ```
/// hotdock_sdk::import! {
///     /// What users are about to buy.
///     mod carts = shop::cart::carts in "../../wit/shop-cart" {
///         fn get(user: Option<&Id>) -> Result<Vec<Item>, Error>;
///         fn check_out(user: &Id) -> Result<CheckedOut, Error>;
///     }
/// }
///
/// fn products(user: i64) -> Result<usize, carts::Error> {
///     Ok(carts::get(Some(&carts::Id::Integer(user)))?.len())
/// }
/// ```
///
/// `shop::cart::carts` is the interface `shop:cart/carts`; the folder, seen from the crate's
/// `Cargo.toml`, has its package, with a world `imports`. Listed are the functions that the
/// service calls, as `wit-bindgen` has them in Rust: a text is taken as `&str`, a list as `&[T]`,
/// other values that own something by reference. What doesn't fit the WIT doesn't compile.
///
/// Tests run natively, where there is nobody to call. So a function has a test double there: a
/// closure, given to the function of the same name in `double`, that answers the calls of
/// this thread for as long as what that returns is held:
///
/// ```
/// # hotdock_sdk::import! {
/// #     mod carts = shop::cart::carts in "../../wit/shop-cart" {
/// #         fn get(user: Option<&Id>) -> Result<Vec<Item>, Error>;
/// #     }
/// # }
/// # fn products(user: i64) -> Result<usize, carts::Error> {
/// #     Ok(carts::get(Some(&carts::Id::Integer(user)))?.len())
/// # }
/// let _cart = carts::double::get(|_| Ok(vec![]));
/// assert_eq!(products(7), Ok(0));
/// let _cart = carts::double::get(|_| Err(carts::Error::Unavailable("away".to_owned())));
/// assert!(products(7).is_err());
/// ```
///
/// To be used once for an interface. A service that awaits takes `wit-bindgen` itself.
#[macro_export]
macro_rules! import {
    (
        $(#[$attribute:meta])*
        $visibility:vis mod $name:ident = $($segment:ident)::+ in $folder:literal {
            $(
                $(#[$on_function:meta])*
                fn $function:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;
            )+
        }
    ) => {
        $(#[$attribute])*
        $visibility mod $name {
            #[allow(missing_docs, reason = "generated; the WIT file is the documentation")]
            mod bindings {
                $crate::calls::wit_bindgen::generate!({
                    path: $folder,
                    world: "imports",
                    runtime_path: "::hotdock_sdk::calls::wit_bindgen::rt",
                    additional_derives: [PartialEq],
                    generate_all,
                });
            }

            use self::bindings::$($segment)::+ as callee;
            #[allow(unused_imports, reason = "an interface need not have types")]
            pub use self::callee::*;

            $(
                $(#[$on_function])*
                #[doc = "Calls the function of this name."]
                #[allow(clippy::too_many_arguments, reason = "the WIT file has so many")]
                pub fn $function($($argument: $type),*) $(-> $result)? {
                    #[cfg(target_family = "wasm")]
                    {
                        callee::$function($($argument),*)
                    }
                    #[cfg(not(target_family = "wasm"))]
                    {
                        // The double is no less what the WIT says.
                        const _: fn($($type),*) $(-> $result)? = callee::$function;
                        let name = concat!(module_path!(), "::", stringify!($function));
                        $crate::calls::of::<Box<dyn Fn($($type),*) $(-> $result)?>>(name)(
                            $($argument),*
                        )
                    }
                }
            )+

            /// What answers the calls where tests run.
            #[cfg(not(target_family = "wasm"))]
            #[allow(dead_code, reason = "only tests have doubles")]
            pub mod double {
                use super::*;

                $(
                    #[doc = "Answers calls of the function of this name, on this thread."]
                    pub fn $function(
                        answer: impl Fn($($type),*) $(-> $result)? + 'static,
                    ) -> $crate::calls::Double {
                        // Of the module without its own name.
                        let module = module_path!().strip_suffix("::double").unwrap_or_default();
                        let answer: Box<dyn Fn($($type),*) $(-> $result)?> = Box::new(answer);
                        $crate::calls::stand_in(
                            format!("{module}::{}", stringify!($function)),
                            answer,
                        )
                    }
                )+
            }
        }
    };
}
