//! What the probe imports beyond `wasi:http` and its dependencies.

wit_bindgen::generate!({
    inline: "
        package probe:probe;
        world imports {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
            import hotdock:sql/sql@0.1.0;
            import hotdock:transaction/transaction@0.1.0;
        }
    ",
    path: [
        "../../../wit/deps/wasi-keyvalue-draft2",
        "../../../wit/deps/wasi-config-rc1",
        "../../../wit/deps/wasi-logging",
        "../../../wit/hotdock-sql",
        "../../../wit/hotdock-transaction",
    ],
    world: "probe:probe/imports",
    generate_all,
});

pub use hotdock::{sql::sql, transaction::transaction};
pub use wasi::config::store as config;
pub use wasi::keyvalue::{atomics, batch, store};
pub use wasi::logging::logging;
