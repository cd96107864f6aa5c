//! How many messages wait in queues, asked again and again over one connection of its own, which is opened anew when it is
//! lost. Consuming knows nothing of it.

use tokio::time::timeout;

use super::connect::{Brokers, Link};
use super::inspect::{Existence, existence};
use super::management::ready;
use super::properties::short;
use super::{ConnectError, Surroundings};
use crate::config::RabbitMq;

/// Asks for the lengths of queues.
pub struct Depths {
    brokers: Brokers,
    config: RabbitMq,
    surroundings: Surroundings,
    /// As operators see the connection.
    name: String,
    link: Option<Link>,
}

impl Depths {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`ConnectError::Refused`]: a URI is none.
    pub fn new(config: &RabbitMq, surroundings: Surroundings, name: &str) -> Result<Self, ConnectError> {
        let brokers = Brokers::new(config, surroundings)?;
        Ok(Self { brokers, config: config.clone(), surroundings, name: name.to_owned(), link: None })
    }

    /// Messages that wait in each of `queues`, without those that consumers hold; `None` of one that is not there, or about
    /// which nobody may ask.
    ///
    /// # Errors
    /// [`ConnectError`]: no broker can be asked now. The next call connects anew.
    pub async fn ask(&mut self, queues: &[String]) -> Result<Vec<Option<u64>>, ConnectError> {
        // Given back only by a whole answer.
        let link = match self.link.take().filter(|link| link.connection.status().connected()) {
            Some(link) => link,
            None => self.brokers.connect(&self.name).await?,
        };
        let slow = |_| ConnectError::Unavailable {
            broker: link.broker.clone(),
            reason: format!("no answer about the queues within {:?}", self.brokers.connect_timeout),
        };
        let mut found = Vec::with_capacity(queues.len());
        let mut hidden = false;
        for queue in queues {
            // A name that is too long was refused with the configuration.
            let Ok(name) = short("the name of the queue", queue) else {
                found.push(None);
                continue;
            };
            let asked = timeout(self.brokers.connect_timeout, existence(&link, queue, &name));
            found.push(match asked.await.map_err(slow)?? {
                Existence::Present { messages, .. } => Some(u64::from(messages)),
                Existence::Absent => None,
                Existence::Hidden { .. } => {
                    hidden = true;
                    None
                }
            });
        }
        self.link = Some(link);
        if hidden && let Some(Ok(told)) = ready(&self.config, self.surroundings, queues).await {
            found.iter_mut().zip(told).for_each(|(found, told)| *found = found.or(told));
        }
        Ok(found)
    }
}
