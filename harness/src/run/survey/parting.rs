//! Whether the server closes at `NBD_CMD_DISC`: if it does not, scenarios about something else need
//! not wait for it each time.

use std::time::Duration;

use super::surveyor::Surveyor;

/// How many sessions must show that the server does not close, or that it does: where several threads
/// serve a session, it may be now this and now that.
const ENOUGH: usize = 2;
/// How long a close is waited for at first.
const LIMIT: Duration = Duration::from_secs(1);

/// Enters, reads where a read is lawful, and leaves. A session in which nothing was asked may end
/// otherwise than others, where a server has several threads.
pub(super) async fn look(surveyor: &mut Surveyor<'_>) {
    let Some(way) = surveyor.way() else { return };
    let block = surveyor.found.block().min(surveyor.found.maximum());
    let (mut stayed, mut closed) = (0, 0);
    while stayed < ENOUGH && closed < ENOUGH {
        let Ok(limit) = surveyor.patience() else { return };
        let Ok((mut asker, _)) = surveyor.enter_by(&way, limit).await else { return };
        surveyor.asking("NBD_CMD_READ");
        if block > 0 && asker.read(0, block).await.is_err() {
            surveyor.is_unanswered();
            surveyor.leave(asker).await;
            return;
        }
        surveyor.asking("NBD_CMD_DISC");
        // What is said against a server that keeps connections rests on the whole wait, once.
        let wait = if stayed + 1 < ENOUGH { LIMIT.min(limit) } else { limit };
        match asker.leave(wait, false).await {
            true => closed += 1,
            false => stayed += 1,
        }
    }
    surveyor.found.stays_open = stayed == ENOUGH;
}
