//! Every reason has the status that was published, and says what it promised.

use super::room::TEXT_BYTES_MAX;
use super::*;
use crate::domain::Fingerprint;
use crate::store::{End, NewCommand};

const LOG: LogId = LogId([7; 8]);

fn about() -> About<'static> {
    About { bot: "suporte", ticket_id: "t-1", log: LOG, said: Said::AsUsual }
}

fn record() -> CommandRecord {
    let command = NewCommand {
        id: uuid::Uuid::nil(),
        method: "Send".to_owned(),
        bot: "suporte".to_owned(),
        ticket_id: "t-1".to_owned(),
        principal: String::new(),
        request_id: String::new(),
        fingerprint: Fingerprint([0; 16]),
        memo: String::new(),
        accept_only: false,
    };
    let accept_time = jiff::Timestamp::UNIX_EPOCH;
    CommandRecord {
        command,
        accept_time,
        start_time: None,
        end: None,
        settle_time: None,
        event_seq: crate::domain::Seq(0),
    }
}

fn info(status: &Status) -> (String, HashMap<String, String>) {
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, "deskgate");
    (info.reason, info.metadata)
}

/// Each reason names its status first in the API's comments, and that is the one it gets.
#[test]
fn statuses_are_the_published_ones() {
    let proto = include_str!("../../../proto/deskgate/v1/error.proto");
    let mut comment = String::new();
    let mut checked = 0;
    for line in proto.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push_str(text);
            comment.push(' ');
            continue;
        }
        if let Some((name, _)) = line.split_once(" = ")
            && let Some(reason) = ErrorReason::from_str_name(name)
            && reason != ErrorReason::Unspecified
        {
            let told = comment.split('`').nth(1).unwrap();
            let is = code(reason, &BTreeMap::from([("blip_code".to_owned(), "71".to_owned())]));
            let is = format!("{is:?}").to_uppercase();
            assert_eq!(is, told.replace('_', ""), "{name}");
            assert_eq!(passes(reason), comment.contains("with `RetryInfo`"), "{name}");
            checked += 1;
        }
        comment.clear();
    }
    assert!(checked > 20, "{checked} reasons were found");
}

#[test]
fn faulty_fields_are_named() {
    let status = Status::from(Invalid::from(InvalidField::new("ticket_id", "is required")));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(info(&status).0, "INVALID_FIELD");
    let request = status.get_details_bad_request().unwrap();
    assert_eq!(request.field_violations[0].field, "ticket_id");
}

#[test]
fn what_blip_said_is_told() {
    let fault = Fault::new("BLIP_QUOTA_EXCEEDED", "Blip refused")
        .with("blip_code", &34)
        .with("blip_description", "é".repeat(2_000).as_str())
        .with("retry_after_ms", &2_500)
        .passing();
    let status = of_desk(DeskError::Fault(fault), about());
    assert_eq!(status.code(), Code::ResourceExhausted);
    let (reason, metadata) = info(&status);
    assert_eq!(reason, "BLIP_QUOTA_EXCEEDED");
    assert_eq!(metadata["blip_code"], "34");
    assert!(metadata["blip_description"].len() <= TEXT_BYTES_MAX);
    assert!(!metadata.contains_key("retry_after_ms"));
    let retry = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_millis(2_500)));
}

#[test]
fn what_the_store_broke_off_is_told_for_what_it_is() {
    let broken = AppendError::Unknown("told to fail".to_owned());
    let status = of_desk(DeskError::Store(broken), about());
    assert_eq!((status.code(), info(&status).0.as_str()), (Code::Unknown, "OUTCOME_UNKNOWN"));
    assert!(status.get_details_retry_info().is_none());
    for passes in [false, true] {
        let fault = Fault::new("STORE_UNAVAILABLE", "broke off").with("command_id", "7");
        let fault = if passes { fault.passing() } else { fault };
        let status = of_desk(DeskError::Fault(fault), about());
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(info(&status).1["command_id"], "7");
        assert_eq!(status.get_details_retry_info().is_some(), passes, "its request id may be taken");
    }
}

#[test]
fn what_was_not_found_is_named() {
    for (reason, kind, key, name) in [
        ("TICKET_NOT_FOUND", "ticket", "ticket", "t-1"),
        ("AGENT_NOT_FOUND", "agent", "agent", "ana%40empresa.com@blip.ai"),
        ("TEAM_NOT_FOUND", "team", "team", "Nenhum"),
        ("BLIP_NOT_FOUND", "blip_resource", "blip_uri", "/teams/Nenhum"),
    ] {
        let status = of_desk(DeskError::Fault(Fault::new(reason, "no").with(key, name)), about());
        assert_eq!((status.code(), info(&status).0.as_str()), (Code::NotFound, reason));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), (kind, name));
    }
}

#[test]
fn blips_refusals_have_two_statuses() {
    let refused = |code: i64| {
        let fault = Fault::new("BLIP_REJECTED", "no").with("blip_code", &code);
        of_desk(DeskError::Fault(fault), about()).code()
    };
    assert_eq!(refused(21), Code::InvalidArgument);
    assert_eq!(refused(61), Code::FailedPrecondition);
}

#[test]
fn where_blip_finds_fault_with_what_was_asked_a_field_is_named() {
    let named = |status: Status| {
        let told = status.get_details_bad_request().map(|told| told.field_violations).unwrap_or_default();
        told.into_iter().map(|violation| violation.field).collect::<Vec<_>>().join(",")
    };
    let text = About { said: Said::In("text"), ..about() };
    for (method, code, uri, field) in [
        ("Send", 71, "", "content"),
        ("Transfer", 64, "", "team"),
        ("Transfer", 25, "", "agent"),
        ("Close", 64, "/tickets/change-status", "ticket_id"),
        ("Close", 64, "/tickets/t-1/change-tags", "tags"),
        ("ExecuteCommand", 27, "", "uri"),
        ("ExecuteCommand", 64, "", "resource"),
        ("Send", 61, "", ""),
    ] {
        let fault = Fault::new("BLIP_REJECTED", "não").with("blip_code", &code).with("blip_uri", uri);
        let mut record = record();
        record.command.method = method.to_owned();
        record.end = Some(End { outcome: Outcome::Failed(fault), attempts: 1, returned: None });
        let ended = || DeskError::Ended { record: Box::new(record.clone()), replayed: false };
        assert_eq!(named(of_desk(ended(), about())), field, "{method} {code} {uri}");
        let field = if field == "content" { "text" } else { field };
        assert_eq!(named(of_desk(ended(), text)), field, "{method} {code} {uri}");
    }
    // What is only read; about a ticket, or about none.
    let none = About { ticket_id: "", ..about() };
    for (about, code, field) in [
        (about(), 21, "ticket_id"),
        (none, 21, ""),
        (About { said: Said::In("customer_identity"), ..none }, 25, "customer_identity"),
        (About { said: Said::InCommand, ..none }, 26, "to"),
        (About { said: Said::InCommand, ..none }, 21, "uri"),
    ] {
        let fault = Fault::new("BLIP_REJECTED", "não").with("blip_code", &code);
        assert_eq!(named(of_desk(DeskError::Fault(fault), about)), field, "{about:?} {code}");
    }
}

#[test]
fn an_expired_cursor_tells_the_earliest() {
    let status = of_read(&ReadError::Trimmed { earliest: crate::domain::Seq(9) }, LOG);
    assert_eq!(status.code(), Code::OutOfRange);
    let (reason, metadata) = info(&status);
    assert_eq!(reason, "CURSOR_EXPIRED");
    let earliest = Cursor::parse(&metadata["earliest_cursor"]).unwrap();
    assert_eq!(earliest.seq.0, 9);
}

#[test]
fn faulty_fields_are_named_as_far_as_a_client_takes_them() {
    let faults = |count: usize, words: usize| {
        let fault =
            |index| InvalidField::new(format!("settlements[{index}].outcome"), "must be said ".repeat(words));
        Status::from(Invalid::Fields((0..count).map(fault).collect()))
    };
    for (count, words) in [(1, 1), (1, 100), (20, 1), (1_000, 1), (1_000, 30)] {
        let status = faults(count, words);
        let named = status.get_details_bad_request().unwrap().field_violations;
        let left_out: usize = info(&status).1.get(NOT_NAMED).map_or(0, |count| count.parse().unwrap());
        assert_eq!(named.len() + left_out, count);
        assert!(named.len() >= 5.min(count), "{} of {count}", named.len());
        let trailers = status.message().len() + status.details().len().div_ceil(3) * 4;
        assert!(trailers < 7 << 10, "{trailers} bytes of {count} faults of {words}");
        let message = status.message();
        assert!(message.len() <= TEXT_BYTES_MAX, "{message}");
        match count {
            1 => assert!(message.trim_end().ends_with(if words == 1 { "said" } else { "…" }), "{message}"),
            _ => assert!(message.ends_with(" more"), "{message}"),
        }
    }
    let all = faults(20, 1);
    assert_eq!(all.get_details_bad_request().unwrap().field_violations.len(), 20);
    let cut = cut("word ".repeat(200));
    assert!(cut.ends_with("word…"), "{cut}");
}

#[test]
fn a_call_without_a_message_is_told_a_reason() {
    for status in [no_request(), no_start()] {
        assert_eq!((status.code(), info(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    }
}
