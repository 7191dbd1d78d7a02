//! A credential that can be told that its token was refused. Knows nothing of how identities are chosen.

use super::Recipe;
use crate::outbound::Refused;
use crate::secret::Secret;
use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A credential whose token cache can be emptied: the SDK's caches cannot, so the credential is made anew.
pub(super) struct Renewing {
    recipe: Recipe,
    current: Mutex<Current>,
}

struct Current {
    credential: Arc<dyn TokenCredential>,
    /// The last token per scope that this credential gave.
    given: HashMap<String, Secret>,
}

impl Renewing {
    pub(super) fn new(recipe: Recipe) -> azure_core::Result<Self> {
        let credential = recipe.build()?;
        Ok(Self { recipe, current: Mutex::new(Current { credential, given: HashMap::new() }) })
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
        let asked = &self.recipe.asked;
        let answered = tokio::time::timeout(asked.patience(), credential.get_token(scopes, options)).await;
        let token = answered.unwrap_or_else(|_| Err(asked.silence())).map_err(|error| asked.advise(error))?;
        self.remember(&credential, &scope, &token);
        Ok(token)
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewing({})", self.recipe.kind.name())
    }
}
