//! Floor 10: the labelers' page. People write demonstrations, rate and rank responses in a browser, as the paper's labelers
//! did (Figure 12, Table 3, appendix B), and a run learns from what they said.
//!
//! Reading order: [`item`] (what is asked), [`record`] (what is answered), [`store`] (what is kept, durably), [`settings`]
//! and [`queue`] (who gets what), [`desk`] (the three together), [`outputs`] (responses that models write on the spot),
//! [`server`] and `routes` (the desk over HTTP; the page itself is in `page/`), [`export`] (out as JSON Lines and in again),
//! [`agreement`] and [`report`] (how well labelers agree).

pub mod agreement;
pub mod desk;
pub mod export;
pub mod item;
pub mod outputs;
pub mod queue;
pub mod record;
pub mod report;
mod routes;
pub mod server;
pub mod settings;
pub mod store;
