//! A service ends: its plugin file is gone, or the operator says so. Its store
//! and its versions are kept.

use std::sync::Arc;

use super::drain::drain;
use super::notice::Notice;
use super::operator::NotDone;
use super::parts::{Parts, SwapTurn};
use super::plugin_file::{Part, Stem};
use super::providers;
use super::settle::Change;
use super::swap::overrule;
use crate::failpoint;
use crate::name::ServiceName;
use crate::turns::Turn;

/// Ends what the file served, and forgets what was refused of it. A service that
/// was uploaded since is not the file's any more, and stays.
pub(super) async fn undeploy(parts: &Arc<Parts>, file: &Stem) {
    let Ok(swapping) = parts.swap_turn().await else {
        // Looked at again.
        return parts.note(file, Part::Component, Change::Gone);
    };
    let service = parts.board.service_of(file);
    if let Some(service) = &service
        && parts.claims.holder(service).as_ref() != Some(file)
    {
        // Renamed: the other file's candidate takes the service over, without
        // a moment in which nothing serves. Should it fail, this file is looked
        // at again.
        return;
    }
    let Some(service) = &service else {
        drop(swapping);
        if parts.board.forget_file(file) {
            parts.record_file(file, None).await;
        }
        return;
    };
    let dependents = providers::dependents(parts, service);
    if !dependents.is_empty() {
        // Nobody can be refused: it is gone. They have it again once it is back.
        let dependents: Vec<_> = dependents.iter().map(ToString::to_string).collect();
        tracing::warn!(
            service = service.as_str(),
            reasons = dependents.join("; "),
            "its file is gone, and other services import from it: their calls fail"
        );
    }
    parts.board.forget_file(file);
    let recorded = {
        let file = file.clone();
        // Before the routes go: a host that dies in between has still undeployed.
        parts.record.change(move |record| record.remove_file(&file)).await
    };
    let name = file.file(Part::Component);
    if let Err(error) = recorded {
        error.log(Some(&name), "the removal could not be recorded");
    }
    take_out(parts, swapping, service, Some(name), None);
}

/// Ends a service by the operator's word. Its file, if it has one, stays where it
/// is and acts again when it changes.
pub(super) async fn undeploy_service(
    parts: &Arc<Parts>,
    (turn, swapping): (Turn, SwapTurn),
    service: &ServiceName,
    who: String,
) -> Result<(), NotDone> {
    let (within, service) = (Arc::clone(parts), service.clone());
    let undeployed = parts.carry(async move {
        let removed = service.clone();
        within.record.change(move |record| record.remove(&removed)).await?;
        failpoint::pass("after an undeployment is recorded");
        take_out(&within, swapping, &service, None, Some(who));
        drop(turn);
        Ok(())
    });
    undeployed.within(parts.change_patience()).await?
}

fn take_out(
    parts: &Arc<Parts>,
    swapping: SwapTurn,
    service: &ServiceName,
    file: Option<String>,
    who: Option<String>,
) {
    overrule(parts.board.serving(service).as_ref(), "the service was undeployed".to_owned());
    let removed = parts.registry.remove(service);
    parts.board.gone(service);
    parts.claims.release_all(service);
    drop(swapping);
    tracing::info!(service = service.as_str(), file, who, "undeployed");
    parts.board.announce(Notice::Undeployed { service: service.clone(), file, who });
    if let Some(removed) = removed {
        for version in removed.traffic.versions() {
            drain(parts, Arc::clone(version));
        }
    }
    parts.look_at_blocked();
}
