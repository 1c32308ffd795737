//! What the host does for a component in one step, however much it is: no epoch is looked at
//! until it is done, so it must not be done where others wait.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, DataKind, DataSectionReader, Encoding, Instance, Parser,
    Payload, TypeRef,
};

use super::component_instances;

/// Bytes that may be copied into an instance's memories where others wait: a millisecond's.
const COPIED_AT_ONCE: u64 = 2 << 20;

/// Bytes that are mapped and not copied, for a memory of the module's own (by Wasmtime 48 where
/// they lie close enough).
const MAPPED: u64 = 16 << 20;

/// Which of them there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Two components within it have code: strings that one passes to the other are transcoded.
    pub transcodes: bool,
    /// It reads streams and writes them: what it writes to itself is moved.
    pub moves: bool,
    /// A new instance's memories are filled by more than a few bytes.
    pub fills: bool,
}

/// A component or module on the way through it.
enum Scope {
    Component { has_code: bool },
    Module { imported_memories: u32 },
}

/// Finds them.
///
/// # Errors
/// When the component is damaged.
pub fn steps(component: &[u8]) -> Result<Steps, BinaryReaderError> {
    let mut open = Vec::new();
    let (mut with_code, mut core_instances) = (0_u64, 0_u64);
    let (mut reads, mut writes, mut most) = (false, false, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                open.push(Scope::Component { has_code: false });
            }
            Payload::Version { encoding: Encoding::Module, .. } => {
                open.push(Scope::Module { imported_memories: 0 });
            }
            Payload::End(_) => {
                if let Some(Scope::Component { has_code: true }) = open.pop() {
                    with_code += 1;
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if matches!(instance?, Instance::Instantiate { .. }) {
                        core_instances += 1;
                        if let Some(Scope::Component { has_code }) = open.last_mut() {
                            *has_code = true;
                        }
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    let function = function?;
                    reads |= matches!(function, CanonicalFunction::StreamRead { .. });
                    writes |= matches!(function, CanonicalFunction::StreamWrite { .. });
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let is_memory = matches!(import?.ty, TypeRef::Memory(_));
                    if let Some(Scope::Module { imported_memories }) = open.last_mut() {
                        *imported_memories += u32::from(is_memory);
                    }
                }
            }
            Payload::DataSection(data) => {
                let Some(Scope::Module { imported_memories }) = open.last() else { continue };
                most = most.max(copied_of(data, *imported_memories)?);
            }
            _ => {}
        }
    }
    // More than there can be: each as often as all together.
    let components = component_instances(component).unwrap_or(u64::from(u32::MAX));
    let copied = most.saturating_mul(core_instances).saturating_mul(components);
    let fills = copied > COPIED_AT_ONCE;
    Ok(Steps { transcodes: with_code > 1, moves: reads && writes, fills })
}

/// Bytes that a module's new instance copies into memories.
fn copied_of(
    data: DataSectionReader<'_>,
    imported_memories: u32,
) -> Result<u64, BinaryReaderError> {
    let (mut copied, mut own) = (0, 0);
    for segment in data {
        let segment = segment?;
        if let DataKind::Active { memory_index, .. } = segment.kind {
            let is_own = memory_index >= imported_memories;
            *(if is_own { &mut own } else { &mut copied }) += segment.data.len() as u64;
        }
    }
    Ok(if own > MAPPED { copied + own } else { copied })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Steps {
        steps(&wat::parse_str(text).expect("a component")).expect("a whole one")
    }

    #[test]
    fn two_components_with_code_pass_strings() {
        let code = "(core module $m (func)) (core instance (instantiate $m))";
        let one = found(&format!("(component (component) (instance (instantiate 0)) {code})"));
        assert_eq!(one, Steps::default());
        let two =
            found(&format!("(component (component {code}) (instance (instantiate 0)) {code})"));
        assert_eq!(two, Steps { transcodes: true, ..Steps::default() });
    }

    #[test]
    fn what_is_copied_into_an_imported_memory_counts_for_each_instance() {
        let component = |bytes: usize, instances: usize| {
            let module = format!(
                "(core module $m (import \"m\" \"m\" (memory 64)) (data (i32.const 0) \"{}\"))",
                "x".repeat(bytes)
            );
            let each = "(core instance (instantiate $m (with \"m\" (instance $given))))";
            found(&format!(
                "(component {module} (core module $own (memory (export \"m\") 64))\
                 (core instance $given (instantiate $own)) {})",
                each.repeat(instances)
            ))
        };
        assert!(!component(1 << 10, 10).fills);
        assert!(component(1 << 20, 10).fills);
        assert!(component(3 << 20, 1).fills);
    }

    #[test]
    fn a_memory_of_its_own_is_mapped() {
        let own = format!(
            "(component (core module $m (memory 64) (data (i32.const 0) \"{}\")) \
             (core instance (instantiate $m)))",
            "x".repeat(3 << 20)
        );
        assert!(!found(&own).fills);
    }

    #[test]
    fn one_that_reads_and_writes_streams_may_move_them() {
        let streams = |what: &str| {
            found(&format!(
                "(component (core module $m (memory (export \"m\") 1))\
                 (core instance $i (instantiate $m)) (type $s (stream u64)) \
                 (alias core export $i \"m\" (core memory $memory)) {what})"
            ))
        };
        let read = "(core func (canon stream.read $s async (memory $memory)))";
        let write = "(core func (canon stream.write $s async (memory $memory)))";
        assert!(!streams(read).moves);
        assert!(streams(&format!("{read}{write}")).moves);
    }
}
