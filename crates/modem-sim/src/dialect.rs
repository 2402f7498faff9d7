//! The stack of each model.

use crate::{
    cmq,
    cmqtt::Service,
    model::{Dialect, Model},
    qmt::Clients,
    stack::Stack,
};

/// Returns the stack of a model. Another dialect is a further line here.
pub(crate) fn stack(model: Model) -> Box<dyn Stack> {
    match model.dialect() {
        Dialect::Cmqtt => Box::new(Service::default()),
        Dialect::Cmq => Box::new(cmq::Client::default()),
        Dialect::Qmt => Box::new(Clients::default()),
    }
}
