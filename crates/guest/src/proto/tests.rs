// SPDX-License-Identifier: MIT OR Apache-2.0
//! How requests and answers look on the wire.

use super::*;

#[test]
fn a_request_is_one_line_that_names_its_operation() {
    let frame = Frame {
        id: 7,
        request: Rmmod {
            name: "rmcp".into(),
        }
        .into(),
    };
    assert_eq!(
        serde_json::to_string(&frame).unwrap(),
        r#"{"id":7,"request":{"op":"rmmod","name":"rmcp"}}"#
    );
}

#[test]
fn an_answer_holds_either_ok_or_error() {
    let good = Answer {
        id: 1,
        outcome: Outcome::Ok(serde_json::json!({"bytes": 2})),
    };
    assert_eq!(
        serde_json::to_string(&good).unwrap(),
        r#"{"id":1,"ok":{"bytes":2}}"#
    );
    let bad: Answer =
        serde_json::from_str(r#"{"id":2,"error":{"errno":22,"text":"write: Invalid argument"}}"#)
            .unwrap();
    assert!(matches!(
        bad.outcome,
        Outcome::Error(Failure {
            errno: Some(22),
            ..
        })
    ));
}

#[test]
fn a_unit_reply_is_null() {
    assert_eq!(
        serde_json::from_value::<()>(serde_json::to_value(()).unwrap()).ok(),
        Some(())
    );
}
