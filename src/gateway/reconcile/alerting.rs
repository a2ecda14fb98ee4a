//! The watchdog at work: a silence begins a round, and alerts become events.

use std::sync::Arc;

use super::driver::Bot;
use super::words::Alert;
use crate::gateway::alerts;

impl Bot {
    /// Looks whether somebody should be told something, or Blip be read.
    pub(super) async fn watch(&self) {
        let now = self.now();
        if self.rules.automatic && self.watchdog().should_look(now.date) {
            tracing::info!(bot = %self.name, "no webhook for longer than usual: reading Blip back");
            self.planner().hasten(now);
        }
        let fault = self.planner().reader_fault();
        // Before anything was read, that nothing is wrong says nothing.
        let judged = fault.is_some() || self.has_read();
        let alerts = {
            let mut watchdog = self.watchdog();
            [judged.then(|| watchdog.reader(fault)).flatten(), watchdog.alarm(now.date)]
        };
        for alert in alerts {
            self.tell_alert(alert).await;
        }
    }

    /// Tells of an alert that is raised, or over: in the log of the process, in the metrics, and as an event.
    pub(super) async fn tell_alert(&self, alert: Option<Alert>) {
        let Some(Alert { reason, raised, description, details }) = alert else { return };
        self.parts.metrics.alert(&self.name, reason, raised);
        if raised {
            tracing::warn!(bot = %self.name, reason, "{description}");
        } else {
            tracing::info!(bot = %self.name, reason, "{description}");
        }
        self.store(vec![alerts::alert(Arc::clone(&self.name), reason, description, details)]).await;
    }
}
