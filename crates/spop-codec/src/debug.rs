//! `{:?}` of questions and answers: what they say, and not their bytes. It is what a test that fails
//! shows, and the first thing that somebody prints who looks into a capture.

use core::fmt;

use crate::action::{ActionIter, Actions};
use crate::frame::{Ack, Args, Message, Messages, Notify};

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify")
            .field("stream_id", &self.stream_id())
            .field("frame_id", &self.frame_id())
            .field("aborted", &self.is_aborted())
            .field("messages", &self.messages())
            .finish()
    }
}

/// Those that are left.
impl fmt::Debug for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("name", &self.name())
            .field("args", &self.args())
            .finish()
    }
}

/// Those that are left.
impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("stream_id", &self.stream_id())
            .field("frame_id", &self.frame_id())
            .field("aborted", &self.is_aborted())
            .field("actions", &self.actions())
            .finish()
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut actions = f.debug_tuple("Actions");
        match self.error() {
            Some(error) => actions.field(&error),
            None => actions.field(&self.iter()),
        };
        actions.finish()
    }
}

/// Those that are left.
impl fmt::Debug for ActionIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use crate::action::Scope;
    use crate::value::TypedData;
    use crate::{Ack, Actions, Frame, NotifyBuilder};

    #[test]
    fn a_question_is_shown_with_its_messages() {
        let args = [("ip", TypedData::Bool(true)), ("", "a".into())];
        let notify = NotifyBuilder::new().message("check", args).unwrap();
        assert_eq!(
            format!("{:?}", Frame::Notify(notify.build(7, 1))),
            "Notify(Notify { stream_id: 7, frame_id: 1, aborted: false, messages: \
             [Message { name: \"check\", args: [Arg { name: \"ip\", value: Bool(true) }, \
             Arg { name: \"\", value: String(\"a\") }] }] })"
        );
    }

    #[test]
    fn an_answer_is_shown_with_its_actions_or_with_what_is_wrong_with_them() {
        let actions = Actions::new()
            .set_var(Scope::Transaction, "score", 7)
            .unset_var(Scope::Session, "old");
        let shown = "[SetVar { scope: Transaction, name: \"score\", value: Int32(7) }, \
                     UnsetVar { scope: Session, name: \"old\" }]";
        assert_eq!(format!("{actions:?}"), format!("Actions({shown})"));
        assert_eq!(
            format!("{:?}", Ack::new(7, 1, &actions)),
            format!("Ack {{ stream_id: 7, frame_id: 1, aborted: false, actions: {shown} }}")
        );
        let void = Actions::new().set_var(Scope::Session, "a-b", 1);
        assert_eq!(format!("{void:?}"), "Actions(NameByte)");
    }
}
