//! Guests in WebAssembly's text, down to what the canonical ABI does. Those that are called export
//! `go: func(text: string) -> result<_, string>` of an interface of their own, with what each
//! returns in the place of `_`; those that call take requests whole (`hotdock:http`).

/// What takes from the second page on and never frees.
const ALLOCATES: &str = r#"(global.set $next
        (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.get $next)
      (global.set $next (i32.add (global.get $next) (local.get $size)))"#;

/// What a guest that can wait imports.
const TIMER: &str = r#"(import "wasi:io/poll@0.2.0" (instance $poll
      (export "pollable" (type $pollable (sub resource)))
      (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
      (alias outer 1 $pollable (type $outer))
      (export "pollable" (type $pollable (eq $outer)))
      (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
    (core func $timer (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))"#;

/// A guest that is being written.
#[derive(Default)]
pub struct Guest {
    returns: String,
    types: String,
    shown: String,
    imports: String,
    lowers: String,
    given: String,
    uses: String,
    allocator_uses: String,
    allocates: String,
    items: String,
    aliases: String,
    options: String,
    kind: String,
}

/// One whose `go` has this body, with the parameters `$text` and `$length`.
pub fn does(body: &str) -> Guest {
    made_of(&format!(
        r#"(func $go (export "go") (param $text i32) (param $length i32) (result i32) {body})"#
    ))
}

/// One whose `go` writes these numbers to these places, and says that its result is at 64: its case
/// there, and from 68 on a value, or where a text or a list is and how long.
pub fn returns(numbers: &[(u32, u32)]) -> Guest {
    let store =
        |(at, number): &(u32, u32)| format!("(i32.store (i32.const {at}) (i32.const {number}))");
    let stores: String = numbers.iter().map(store).collect();
    does(&format!("{stores} (i32.const 64)"))
}

/// One that returns at once, and does this when what it returned was read.
pub fn returns_and_then(body: &str) -> Guest {
    let returns = made_of(&format!(
        r#"(func (export "go") (param i32 i32) (result i32) (i32.const 64))
        (func (export "after") (param i32) {body})"#
    ));
    returns.lifted("after", "(post-return $after)")
}

/// An `async func` that does `begins`, and then this each time that it is called back; each time
/// it says whether it is done (0) or yields (1).
pub fn awaits(begins: &str, then: &str) -> Guest {
    let awaits = made_of(&format!(
        r#"(func (export "go") (param i32 i32) (result i32) {begins})
        (func (export "callback") (param i32 i32 i32) (result i32) {then})"#
    ));
    awaits.asynchronous()
}

/// One of these items.
pub fn made_of(items: &str) -> Guest {
    Guest {
        returns: "u32".to_owned(),
        allocates: ALLOCATES.to_owned(),
        items: items.to_owned(),
        ..Guest::default()
    }
}

/// One whose handler of requests has this body, with the parameters `$target` and `$size`.
pub fn answers(body: &str) -> Guest {
    made_of(&format!(
        r#"(func $handle (export "handle") (param i32 i32 i32) (param $target i32)
            (param $size i32) (param i32 i32 i32 i32) (result i32) {body})"#
    ))
}

impl Guest {
    /// Its result is of this type, if it has one.
    pub fn returning(mut self, ty: &str) -> Self {
        self.returns = ty.to_owned();
        self
    }

    /// With a type of this definition that is called `$shown`.
    pub fn showing(mut self, definition: &str) -> Self {
        self.types =
            format!(r#"(type $defined {definition}) (export $shown "shown" (type $defined))"#);
        self.shown = r#"(export "shown" (type $shown))"#.to_owned();
        self.returning("$shown")
    }

    /// Its allocator does this.
    pub fn allocating(mut self, body: &str) -> Self {
        self.allocates = body.to_owned();
        self
    }

    /// Its allocator does this once `$spoilt` is set, and allocates until then.
    pub fn spoilt(mut self, body: &str) -> Self {
        self.allocates = format!("(if (global.get $spoilt) (then {body})) {ALLOCATES}");
        self
    }

    /// How its function is lifted, with another that it exports.
    fn lifted(mut self, other: &str, options: &str) -> Self {
        let alias = format!(r#"(alias core export $main "{other}" (core func ${other}))"#);
        self.aliases.push_str(&alias);
        self.options.push_str(options);
        self
    }

    /// Its function is an `async func`.
    fn asynchronous(mut self) -> Self {
        self.kind = "async".to_owned();
        let returned = &self.returns;
        self.lowers.push_str(&format!(
            r#"(core func $return (canon task.return
                (result (result {returned} (error string))) (memory $memory)))"#
        ));
        self.given.push_str(r#"(with "task" (instance (export "return" (func $return))))"#);
        // The result's case, its number or its text, and that text's length.
        self.uses.push_str(r#"(import "task" "return" (func $return (param i32 i32 i32)))"#);
        self.lifted("callback", "async (callback $callback)")
    }

    /// It can wait: `(call $block (call $timer …))`.
    pub fn waiting(mut self) -> Self {
        self.imports.push_str(TIMER);
        self.given.push_str(
            r#"(with "clock" (instance
                (export "timer" (func $timer)) (export "block" (func $block))))"#,
        );
        self.uses.push_str(
            r#"(import "clock" "timer" (func $timer (param i64) (result i32)))
              (import "clock" "block" (func $block (param i32)))"#,
        );
        self
    }

    /// It calls this one: `$call-NAME` with a text, its length and a place for the result.
    pub fn calling(self, name: &str) -> Self {
        self.calling_typed(name, "", "u32")
    }

    /// The same of one that is made so.
    pub fn calling_one(self, name: &str, callee: &Self) -> Self {
        let Self { types, shown, .. } = callee;
        // In an import both are one.
        let shown =
            if shown.is_empty() { "" } else { r#"(export "shown" (type $shown (eq $defined)))"# };
        let defined = types.split("(export").next().unwrap_or_default();
        self.calling_typed(name, &format!("{defined} {shown}"), &callee.returns)
    }

    fn calling_typed(mut self, name: &str, types: &str, returns: &str) -> Self {
        self.imports.push_str(&format!(
            r#"(import "test:hostile/{name}@1.0.0" (instance ${name} {types}
                (export "go" (func (param "text" string)
                    (result (result {returns} (error string)))))))"#
        ));
        self.lowers.push_str(&format!(
            r#"(core func $call-{name} (canon lower (func ${name} "go")
                (memory $memory) (realloc $realloc)))"#
        ));
        self.given
            .push_str(&format!(r#"(with "{name}" (instance (export "go" (func $call-{name}))))"#));
        self.uses.push_str(&format!(
            r#"(import "{name}" "go" (func $call-{name} (param i32 i32 i32)))"#
        ));
        self
    }

    /// It calls `ping: func() -> u32` of `friend`, as far as its allocator lets it.
    pub fn pinging(mut self) -> Self {
        self.imports.push_str(
            r#"(import "test:hostile/friend@1.0.0" (instance $friend
                (export "ping" (func (result u32)))))
              (core func $ping (canon lower (func $friend "ping")))"#,
        );
        self.given.push_str(r#"(with "friend" (instance (export "ping" (func $ping))))"#);
        self.uses.push_str(r#"(import "friend" "ping" (func $ping (result i32)))"#);
        self
    }

    /// Its allocator has what it imports itself, which must need no allocator.
    pub fn imports_for_its_allocator(mut self) -> Self {
        self.allocator_uses = self.uses.clone();
        self
    }

    /// The component: its `go` is `test:hostile/NAME`'s.
    pub fn named(&self, name: &str) -> Vec<u8> {
        let Self { returns, aliases, options, shown, kind, .. } = self;
        self.exporting(&format!(
            r#"{aliases}
    (func $lifted {kind} (param "text" string) (result (result {returns} (error string)))
      (canon lift (core func $main "go") (memory $memory)
        (realloc $realloc) {options}))
    (instance $exported {shown} (export "go" (func $lifted)))
    (export "test:hostile/{name}@1.0.0" (instance $exported))"#
        ))
    }

    /// The component: it takes requests.
    pub fn serving(&self) -> Vec<u8> {
        self.exporting(
            r#"(type $methods (variant (case "get") (case "head") (case "post") (case "put")
      (case "delete") (case "connect") (case "options") (case "trace") (case "patch")
      (case "other" string)))
    (export $method "method" (type $methods))
    (type $asked (record (field "method" $method) (field "target" string)
      (field "headers" (list u8)) (field "body" (list u8))))
    (export $request "request" (type $asked))
    (type $told (record (field "status" u16) (field "headers" (list u8)) (field "body" (list u8))))
    (export $response "response" (type $told))
    (func $lifted (param "request" $request) (result $response)
      (canon lift (core func $main "handle") (memory $memory)
        (realloc $realloc)))
    (instance $exported (export "handle" (func $lifted)))
    (export "hotdock:http/handler@0.1.0" (instance $exported))"#,
        )
    }

    /// The component: its `ping` is `test:hostile/friend`'s.
    pub fn pinged(&self) -> Vec<u8> {
        self.exporting(
            r#"(func $lifted (result u32) (canon lift (core func $main "ping")))
    (instance $exported (export "ping" (func $lifted)))
    (export "test:hostile/friend@1.0.0" (instance $exported))"#,
        )
    }

    fn exporting(&self, exports: &str) -> Vec<u8> {
        let Self { types, imports, lowers, given, uses, allocates, items, .. } = self;
        let Self { allocator_uses, .. } = self;
        let allocator_given = if allocator_uses.is_empty() { "" } else { given.as_str() };
        let text = format!(
            r#"(component
    {imports}
    {types}
    (core module $libc
      {allocator_uses}
      (memory (export "memory") 4)
      (global $next (mut i32) (i32.const 65536))
      (global $spoilt (export "spoilt") (mut i32) (i32.const 0))
      (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
        {allocates}))
    (core instance $libc (instantiate $libc {allocator_given}))
    (alias core export $libc "memory" (core memory $memory))
    (alias core export $libc "realloc" (core func $realloc))
    {lowers}
    (core module $main
      {uses}
      (import "libc" "memory" (memory 4))
      (import "libc" "spoilt" (global $spoilt (mut i32)))
      {items})
    (core instance $main (instantiate $main (with "libc" (instance $libc)) {given}))
    {exports})"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("a component: {error}\n{text}"))
    }
}
