//! Conversations with `plugins/chat`.

use super::Talk;
use crate::support::component;

pub fn talk(settings: &str) -> Talk {
    let chat = component("plugins/chat");
    Talk::with("chat", &format!("plugins = [{chat:?}]\nsettings = {{ {settings} }}"))
}

#[test]
fn a_line_goes_to_the_others_in_the_room() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann reads → [{"joined":"bob"}]

        bob listens
        ann sends {"say":"hi"} → 204
        bob hears → [{"from":"ann","say":"hi","room":"lobby"}]
        ann reads → nothing

        bob sends {"say":"hello"} → 204
        bob sends {"say":"how are you?"} → 204
        ann reads → [{"from":"bob","say":"hello","room":"lobby"}, {"from":"bob","say":"how are you?","room":"lobby"}] seqs [2,3]
        ann reads → nothing
        bob reads → nothing
        "#,
    );
}

#[test]
fn a_private_message_reaches_nobody_else() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        cid opens {"nick":"cid"} → 201 cid {"room":"lobby","nick":"cid","members":["ann","bob"]}
        ann reads → [{"joined":"bob"}, {"joined":"cid"}]
        bob reads → [{"joined":"cid"}]

        ann sends {"to":"bob","say":"psst"} → 204
        bob reads → [{"from":"ann","to":"bob","say":"psst"}]
        ann reads → nothing
        cid reads → nothing

        ann sends {"to":"dan","say":"psst"} → 404 rejected "dan is not here"
        ann sends {"say":"hi"} → 204
        bob reads → [{"from":"ann","say":"hi","room":"lobby"}]

        dan opens {"nick":"dan"} → 201 dan {"room":"lobby","nick":"dan","members":["ann","bob","cid"]}
        dan reads → [{"from":"ann","say":"hi","room":"lobby","history":true}]
        "#,
    );
}

#[test]
fn whoever_closes_has_left() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann reads → [{"joined":"bob"}]
        bob listens
        bob closes → 204
        bob hears → 410 closed
        ann waits → [{"left":"bob"}]
        ann sends {"to":"bob","say":"psst"} → 404 rejected "bob is not here"
        ann sends {"who":true} → 200 {"members":["ann"]}

        # The seat is free at once. It is another one: who closed the old one still hears so.
        new opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann waits → [{"joined":"bob"}]
        bob reads → 410 closed
        "#,
    );
}

/// Nobody sleeps here: bob's read is held until ann has left, and all that time
/// he is there himself.
#[test]
fn whoever_stays_away_has_left() {
    talk("linger_s = 2").goes(
        r#"
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":[]}
        bob listens
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":["bob"]}
        bob hears → [{"joined":"ann"}]
        bob waits → [{"left":"ann"}]
        bob sends {"who":true} → 200 {"members":["bob"]}
        ann reads → 404 not_found "it may have expired"
        "#,
    );
}

#[test]
fn newcomers_get_the_last_lines_and_nobody_else_does() {
    talk("history = 2").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        ann sends {"say":"one"} → 204
        ann sends {"say":"two"} → 204
        ann sends {"say":"three"} → 204
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann sends {"say":"four"} → 204
        bob reads → [{"from":"ann","say":"two","room":"lobby","history":true}, {"from":"ann","say":"three","room":"lobby","history":true}, {"from":"ann","say":"four","room":"lobby"}] seqs [1,2,3]
        ann reads → [{"joined":"bob"}]

        # A room's history outlives those who made it.
        ann closes → 204
        bob closes → 204
        cid opens {"nick":"cid"} → 201 cid {"room":"lobby","nick":"cid","members":[]}
        cid reads → [{"from":"ann","say":"three","room":"lobby","history":true}, {"from":"ann","say":"four","room":"lobby","history":true}]
        "#,
    );
}

#[test]
fn without_history_newcomers_get_none() {
    talk("history = 0").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        ann sends {"say":"one"} → 204
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        bob reads → nothing
        "#,
    );
}

#[test]
fn rooms_are_apart() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann","room":"tea"} → 201 ann {"room":"tea","nick":"ann","members":[]}
        bob opens {"nick":"bob","room":"tea"} → 201 bob {"room":"tea","nick":"bob","members":["ann"]}
        cid opens {"nick":"cid","room":"münchen"} → 201 cid {"room":"münchen","nick":"cid","members":[]}
        dan opens {"nick":"dan","room":"münchen"} → 201 dan {"room":"münchen","nick":"dan","members":["cid"]}
        ann reads → [{"joined":"bob"}]
        cid reads → [{"joined":"dan"}]

        ann sends {"say":"milk?"} → 204
        cid sends {"say":"servus"} → 204
        bob reads → [{"from":"ann","say":"milk?","room":"tea"}]
        dan reads → [{"from":"cid","say":"servus","room":"münchen"}]

        ann sends {"who":true} → 200 {"members":["ann","bob"]}
        cid sends {"who":true} → 200 {"members":["cid","dan"]}
        dan closes → 204
        cid waits → [{"left":"dan"}]
        ann reads → nothing
        bob reads → nothing

        eve opens {"nick":"eve","room":"tea"} → 201 eve {"room":"tea","nick":"eve","members":["ann","bob"]}
        eve reads → [{"from":"ann","say":"milk?","room":"tea","history":true}]
        "#,
    );
}

#[test]
fn a_nick_is_for_one_in_all_rooms() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"ann"} → 409 name_taken "\"ann\""
        bob opens {"nick":"ann","room":"tea"} → 409 name_taken
        ann reads → nothing
        ann sends {"who":true} → 200 {"members":["ann"]}
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        ann reads → [{"joined":"bob"}]
        "#,
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let long = "x".repeat(4000);
    let transcript = r#"
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":[]}
        ann opens {} → 400 rejected "a nick is needed"
        ann opens {"nick":"a b"} → 400 rejected "a nick is 1 to 32 letters"
        ann opens {"nick":"ann","room":""} → 400 rejected "a room is 1 to 32 letters"
        ann opens {"nick":7} → 400 rejected
        ann opens {"nick" → 400 bad_payload
        bob reads → nothing

        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":["bob"]}
        bob reads → [{"joined":"ann"}]
        ann sends {"say":"LONGx"} → 400 rejected "at most 4000 bytes"
        ann sends {"to":"bob","say":"LONGx"} → 400 rejected "at most 4000 bytes"
        ann sends {"sya":"hi"} → 400 rejected "{\"say\":…}"
        ann sends {"say":7} → 400 rejected
        bob reads → nothing

        ann sends {"say":"LONG"} → 204
        bob reads → [{"from":"ann","say":"LONG","room":"lobby"}]
    "#;
    talk("").goes(&transcript.replace("LONG", &long));
}

#[test]
fn a_backend_speaks_to_a_room() {
    talk("").goes(
        r#"
        ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":[]}
        bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":["ann"]}
        cid opens {"nick":"cid","room":"tea"} → 201 cid {"room":"tea","nick":"cid","members":[]}
        ann reads → [{"joined":"bob"}]

        backend publishes {"to":{"groups":["lobby"]},"data":{"notice":"closing at 8"}} → 200 [{"queued":2}]
        ann reads → [{"notice":"closing at 8"}]
        bob reads → [{"notice":"closing at 8"}]
        cid reads → nothing

        backend publishes [{"to":{"groups":["lobby"],"except":["ann"]},"data":1}, {"to":{"mailboxes":["cid","dan"]},"data":"two"}, {"to":{"groups":["nowhere"]},"data":3}] → 200 [{"queued":1}, {"queued":1,"missing":["dan"]}, {"queued":0}]
        ann reads → nothing
        bob reads → [1]
        cid reads → ["two"]

        ann publishes {"to":{"groups":["lobby"]},"data":"let me"} → 401 unauthorized
        bob reads → nothing
        "#,
    );
}
