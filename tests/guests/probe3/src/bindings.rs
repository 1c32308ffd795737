//! What the probe imports beyond `wasi:http` and its dependencies.

wit_bindgen::generate!({
    inline: "
        package probe3:probe3;
        world imports {
            import wasi:keyvalue/store@0.2.0-draft2;
        }
    ",
    path: ["../../../wit/deps/wasi-keyvalue-draft2"],
    world: "probe3:probe3/imports",
    generate_all,
});

pub use wasi::keyvalue::store;
