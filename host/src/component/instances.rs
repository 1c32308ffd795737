//! How many component instances an instance of a component has, nested ones included: as
//! many of its calls can be waiting at once, each on a stack of its own.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Encoding, Parser, Payload,
};

/// Why they cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum InstancesError {
    /// The component is damaged.
    #[error("it is damaged: {0}")]
    Damaged(#[from] BinaryReaderError),
    /// It instantiates a component that it is given, whatever that has in it.
    #[error("it instantiates a component that it imports: compose them into one")]
    Unknown,
}

/// A component on the way through it.
#[derive(Default)]
struct Scope {
    /// The components that it can name, and the instances of each: `None` where only who
    /// instantiates it knows.
    components: Vec<Option<u64>>,
    /// Its own instances; `None` where that is not known.
    instances: Option<u64>,
}

/// Counts them; the component's own is one of them.
///
/// # Errors
/// When it is damaged, or instantiates what it is given.
pub fn component_instances(component: &[u8]) -> Result<u64, InstancesError> {
    // What is open around the current place; a core module has nothing of interest.
    let mut open: Vec<Option<Scope>> = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                open.push(Some(Scope { components: Vec::new(), instances: Some(1) }));
            }
            Payload::Version { encoding: Encoding::Module, .. } => open.push(None),
            Payload::End(_) => {
                let Some(Some(ended)) = open.pop() else { continue };
                match open.last_mut() {
                    Some(Some(outer)) => outer.components.push(ended.instances),
                    _ => return ended.instances.ok_or(InstancesError::Unknown),
                }
            }
            _ => read(&payload, &mut open)?,
        }
    }
    Err(InstancesError::Unknown)
}

fn read(payload: &Payload<'_>, open: &mut [Option<Scope>]) -> Result<(), BinaryReaderError> {
    match payload {
        Payload::ComponentImportSection(imports) => {
            for import in imports.clone() {
                if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                    name(open, None);
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports.clone() {
                let export = export?;
                // It is another name for the same.
                if export.kind == ComponentExternalKind::Component {
                    let same = named(open, 0, export.index);
                    name(open, same);
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases.clone() {
                match alias? {
                    ComponentAlias::InstanceExport {
                        kind: ComponentExternalKind::Component,
                        ..
                    } => name(open, None),
                    ComponentAlias::Outer {
                        kind: ComponentOuterAliasKind::Component,
                        count,
                        index,
                    } => {
                        let same = named(open, count, index);
                        name(open, same);
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances.clone() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    let more = named(open, 0, component_index);
                    if let Some(Some(scope)) = open.last_mut() {
                        let both = scope.instances.zip(more);
                        scope.instances = both.map(|(before, more)| before.saturating_add(more));
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The component that the innermost scope can name next.
fn name(open: &mut [Option<Scope>], instances: Option<u64>) {
    if let Some(Some(scope)) = open.last_mut() {
        scope.components.push(instances);
    }
}

/// The instances of a component that a scope so far out names by this index.
fn named(open: &[Option<Scope>], out: u32, index: u32) -> Option<u64> {
    let at = open.len().checked_sub(1 + out as usize)?;
    open.get(at)?.as_ref()?.components.get(index as usize).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Result<u64, InstancesError> {
        component_instances(&wat::parse_str(text).expect("a component"))
    }

    #[test]
    fn nested_instances_multiply() {
        assert_eq!(count("(component (core module (func)))").expect("a count"), 1);
        let nested = "(component
            (component $a
                (component $b (component $c) (instance (instantiate $c)) (instance (instantiate $c)))
                (instance (instantiate $b)) (instance (instantiate $b)))
            (instance (instantiate $a))
            (instance (instantiate $a)))";
        // Of each `b` three; of each `a` one and two of those.
        assert_eq!(count(nested).expect("a count"), 1 + 2 * (1 + 2 * 3));
    }

    #[test]
    fn a_component_by_another_name_counts_as_itself() {
        let aliased = "(component $outer
            (component $a (component $b) (instance (instantiate $b)))
            (component $c
                (alias outer $outer $a (component $again))
                (instance (instantiate $again)))
            (export $shown \"a\" (component $a))
            (instance (instantiate $c))
            (instance (instantiate $shown)))";
        assert_eq!(count(aliased).expect("a count"), 1 + 3 + 2);
    }

    #[test]
    fn one_that_instantiates_what_it_is_given_is_not_counted() {
        let given = "(component
            (import \"a\" (component $a))
            (instance (instantiate $a)))";
        assert!(matches!(count(given), Err(InstancesError::Unknown)));
        assert!(matches!(component_instances(b"\0asm"), Err(InstancesError::Damaged(_))));
    }
}
