//! One suite for every store: what the log and the ledger promise, on the memory model and on SQLite, and any
//! sequence of operations on both at once. What only a file can suffer is in `conformance/file.rs`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what is wrong by failing"
)]

#[path = "conformance/agreement.rs"]
mod agreement;
#[path = "conformance/file.rs"]
mod file;
#[path = "conformance/groups.rs"]
mod groups;
#[path = "conformance/ledger.rs"]
mod ledger;
#[path = "conformance/log.rs"]
mod log;
#[path = "conformance/quarantine.rs"]
mod quarantine;
#[path = "conformance/size.rs"]
mod size;
#[path = "conformance/support.rs"]
mod support;
#[path = "conformance/transfer.rs"]
mod transfer;

/// Runs each check on every store.
macro_rules! on_every_store {
    ($($check:path => $name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                $check(&mut crate::support::Subject::memory()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                $check(&mut crate::support::Subject::sqlite()).await;
            })*
        }
    };
}

on_every_store! {
    crate::log::order => positions_and_sequences_follow_acceptance,
    crate::log::callers_at_once => callers_at_once_get_positions_without_holes,
    crate::log::duplicates => duplicates_are_recognised_across_a_restart,
    crate::log::duplicates_expire => duplicates_are_recognised_for_the_window_and_no_longer,
    crate::log::sequences_outlive_retention => ticket_sequences_outlive_retention_and_restart,
    crate::log::trimmed => what_retention_passed_is_told,
    crate::log::never_reused => a_position_is_never_used_twice,
    crate::log::seek => seek_finds_the_position_before_a_date,
    crate::log::time_never_goes_back => receive_times_never_go_back,
    crate::log::tail_and_recent => the_tail_is_told_before_the_answer,
    crate::log::tickets => tickets_are_known_by_bot_and_id,
    crate::log::closed_flags => events_after_a_close_say_so,
    crate::log::quarantined => bodies_in_quarantine_are_taken,
    crate::quarantine::pages => the_quarantine_is_read_in_pages,
    crate::quarantine::released_once => a_body_leaves_quarantine_as_one_event,
    crate::quarantine::released_late => what_leaves_quarantine_comes_late_and_keeps_every_rule,
    crate::quarantine::never_reused => a_number_in_quarantine_is_never_used_twice,
    crate::groups::made_once => a_group_is_made_once_and_changed_by_revision,
    crate::groups::steps => a_step_of_a_group_is_kept_whole,
    crate::groups::parked => parked_events_outlive_the_log,
    crate::groups::gone => a_deleted_group_leaves_nothing,
    crate::log::statuses => the_status_of_a_sent_message_finds_its_ticket,
    crate::transfer::old_first => a_transfer_is_joined_when_the_old_ticket_is_told_first,
    crate::transfer::new_first => a_transfer_is_joined_when_the_new_ticket_is_told_first,
    crate::log::who_is_behind_a_tunnel => who_is_behind_a_tunnel_is_told_once_known,
    crate::transfer::old_unknown => a_transfer_is_joined_when_the_old_ticket_was_never_seen,
    crate::transfer::chain => a_ticket_transferred_twice_is_joined_on_both_sides,
    crate::transfer::strangers => numbers_join_no_strangers,
    crate::ledger::begin_once => a_request_begins_once,
    crate::ledger::conflict => a_request_id_means_one_thing,
    crate::ledger::freed => a_passing_failure_frees_the_request_id,
    crate::ledger::expiry => a_request_id_is_kept_for_72_hours,
    crate::ledger::settle_once => a_command_settles_once_with_its_echo,
    crate::ledger::queued => what_nobody_waits_for_is_queued_until_it_is_sent,
    crate::ledger::cleared_up => an_unknown_end_may_be_known_later,
    crate::ledger::pages => commands_are_read_in_pages,
    crate::ledger::pages_of_answers => lists_do_not_hold_what_blip_answered,
    crate::log::ticket_pages => tickets_are_read_in_pages,
    crate::log::tags => tags_are_replaced_with_none_too,
    crate::ledger::unsettled => what_was_begun_and_not_settled_is_found_after_a_restart,
    crate::ledger::unsettled_pages => what_has_no_end_is_told_in_pages_of_bounded_size,
    crate::ledger::knows_ticket => begin_tells_what_is_known_of_the_ticket,
}
