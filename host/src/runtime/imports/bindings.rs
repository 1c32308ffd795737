//! Bindings generated from `wit/`.

wasmtime::component::bindgen!({
    path: [
        "../wit/deps/wasi-keyvalue-draft",
        "../wit/deps/wasi-keyvalue-draft2",
        "../wit/deps/wasi-config-draft",
        "../wit/deps/wasi-config-draft-2024-09-27",
        "../wit/deps/wasi-config-rc1",
        "../wit/deps/wasi-logging",
        "../wit/hotdock-events",
        "../wit/hotdock-sql",
        "../wit/hotdock-transaction",
    ],
    inline: "
        package hotdock:host;
        world imports {
            include wasi:keyvalue/imports@0.2.0-draft;
            include wasi:keyvalue/imports@0.2.0-draft2;
            include wasi:config/imports@0.2.0-draft;
            include wasi:config/imports@0.2.0-draft-2024-09-27;
            include wasi:config/imports@0.2.0-rc.1;
            include wasi:logging/imports@0.1.0-draft;
            include hotdock:events/imports@0.1.0;
            include hotdock:sql/imports@0.1.0;
            include hotdock:transaction/imports@0.1.0;
        }
    ",
    world: "hotdock:host/imports",
    imports: { default: async | trappable },
    with: {
        "wasi:keyvalue/store@0.2.0-draft.bucket": super::keyvalue::Bucket,
        "wasi:keyvalue/store@0.2.0-draft2.bucket": super::keyvalue::Bucket,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas": super::keyvalue::Cas,
    },
    trappable_error_type: {
        "wasi:keyvalue/store@0.2.0-draft.error" => super::keyvalue::KeyValueError,
        "wasi:keyvalue/store@0.2.0-draft2.error" => super::keyvalue::KeyValueError,
        "hotdock:events/publisher.error" => super::publisher::PublishError,
        "hotdock:sql/sql.error" => super::sql::SqlError,
        "hotdock:transaction/transaction.error" => super::transaction::TransactionError,
    },
});
