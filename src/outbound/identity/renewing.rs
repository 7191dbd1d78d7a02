//! A credential that can be told that its token was refused. Knows nothing of how identities are chosen.

use super::Recipe;
use super::errors::{is_transient, repeated};
use crate::outbound::Refused;
use crate::secret::Secret;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A credential whose token cache can be emptied: the SDK's caches cannot, so the credential is made anew.
pub(super) struct Renewing {
    recipe: Recipe,
    current: Mutex<Current>,
    /// The last failure that may pass, and when it came.
    failed: Mutex<Option<(Instant, azure_core::Error)>>,
}

struct Current {
    credential: Arc<dyn TokenCredential>,
    /// The last token per scope that this credential gave.
    given: HashMap<String, Secret>,
}

impl Renewing {
    pub(super) fn new(recipe: Recipe) -> azure_core::Result<Self> {
        let credential = recipe.build()?;
        Ok(Self {
            recipe,
            current: Mutex::new(Current { credential, given: HashMap::new() }),
            failed: Mutex::default(),
        })
    }

    /// The credential to ask. A refused token empties the cache once, however many calls had it refused.
    fn credential(&self, scope: &str, refused: Option<&Refused>) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut current = self.lock();
        if refused.is_some_and(|Refused(token)| current.given.get(scope) == Some(token)) {
            *current = Current { credential: self.recipe.build()?, given: HashMap::new() };
        }
        Ok(current.credential.clone())
    }

    fn remember(&self, credential: &Arc<dyn TokenCredential>, scope: &str, token: &AccessToken) {
        let mut current = self.lock();
        if Arc::ptr_eq(&current.credential, credential) {
            current.given.insert(scope.to_owned(), Secret::new(token.token.secret()));
        }
    }

    /// What another call has met since.
    fn failed_since(&self, began: Instant) -> Option<azure_core::Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| *at >= began).and_then(|(_, error)| repeated(error))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // What it guards is replaced whole, so a panic elsewhere leaves it whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenCredential for Renewing {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let scope = scopes.join(" ");
        let refused = options.as_ref().and_then(|options| options.method_options.context.value::<Refused>());
        let credential = self.credential(&scope, refused)?;
        let (asked, began) = (&self.recipe.asked, Instant::now());
        match tokio::time::timeout(asked.patience(), credential.get_token(scopes, options)).await {
            Ok(Ok(token)) => {
                self.remember(&credential, &scope, &token);
                Ok(token)
            }
            Ok(Err(error)) => {
                let error = asked.advise(error);
                if let Some(again) = repeated(&error).filter(is_transient) {
                    *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), again));
                }
                Err(error)
            }
            // The SDK asks for one token after the other: what kept this one waiting is what another met.
            Err(_) => Err(self.failed_since(began).unwrap_or_else(|| asked.advise(asked.silence()))),
        }
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewing({})", self.recipe.kind.name())
    }
}
