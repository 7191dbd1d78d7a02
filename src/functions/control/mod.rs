//! Starting, holding and stopping runs, for every door that does so. The rules are in `orchestration::run`.

mod again;
mod hold;
mod place;
mod purge;
mod start;
mod tell;
mod terminate;

pub use again::{begin_again, pay_again};
pub use hold::{apply_resumption, apply_suspension, resume, suspend};
pub use place::{confirm, release};
pub use purge::{Purged, Swept, purge, purge_matching, purge_old};
pub use start::{Started, start, start_as};
pub use terminate::{Terminated, mark_terminated, terminate};

use crate::app::App;
use crate::orchestration::ids::InstanceId;
use crate::orchestration::instance::RuntimeStatus;
use crate::state::Error;

/// The status of a run, `None` if there is no such run.
pub async fn status_of(app: &App, id: &InstanceId) -> Result<Option<RuntimeStatus>, Error> {
    Ok(app.state.instance(id).await?.map(|run| run.record.status))
}
