//! Whether webhooks seem blocked or lost. Pure.

/// The reasons of its alerts.
pub(super) const REASONS: [&str; 2] = ["WEBHOOKS_MISSING", "RECONCILIATION_BLIND"];
