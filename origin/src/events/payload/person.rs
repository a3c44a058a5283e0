//! Persons, their sessions and how they sign in.

use uuid::Uuid;

use super::{payloads, words};
use crate::events::field::{Moment, Pseudonym};

words! {
    /// How a person proved who they are.
    SignInMethod {
        /// A code from a mail.
        EmailCode,
        /// A one-time link that an operator made.
        OperatorLink,
    }
    /// Why a session is over.
    SessionEnd {
        /// The person signed out.
        SignedOut,
        /// It was not used, or reached its age.
        Expired,
        /// An operator or the person ended it from elsewhere.
        Revoked,
    }
    /// Why a one-time code was taken back.
    CodeWithdrawal {
        /// The mail server refuses the mail for good.
        MailRefused,
        /// The mail server did not take the mail.
        MailUnavailable,
    }
    /// Why a one-time code was refused.
    CodeRefusal {
        /// It is another one.
        Wrong,
        /// It is too old.
        Expired,
        /// It has been used.
        Used,
        /// It was asked for from another browser.
        OtherBrowser,
        /// It has been tried too often.
        TooManyAttempts,
    }
}

payloads! {
    /// A person has an account.
    UserAccount, 1: UserRegistered {
        /// Commitment to the address, with the account's salt.
        email: Pseudonym,
        /// How the person got in the first time.
        method: SignInMethod,
    }
    /// A person was erased: whatever said who they were is gone, and whatever they could still do has ended.
    UserAccount, 1: UserErased {
        /// Sessions that were open.
        sessions: u32,
        /// Grants that went on.
        grants: u32,
        /// API keys and tokens that were good.
        credentials: u32,
    }
    /// What a webhook says of a person's account was taken over.
    UserAccount, 1: UserUpserted {
        /// Commitment to the address, with the account's salt.
        email: Pseudonym,
        /// When the person last signed in anywhere, where that is known.
        last_sign_in_at: Option<Moment>,
        /// The source's stamp.
        source_updated_at: Option<Moment>,
    }
    /// A person has signed in.
    Session, 1: SessionStarted {
        /// The person.
        user_id: Uuid,
        /// How they proved it.
        method: SignInMethod,
        /// The challenge they met.
        challenge_id: Option<Uuid>,
        /// When the session ends whatever happens.
        expires_at: Moment,
    }
    /// A session is over.
    Session, 1: SessionEnded {
        /// The person.
        user_id: Uuid,
        /// Why.
        reason: SessionEnd,
    }
    /// A one-time code or link has been made for an address.
    SignInChallenge, 1: SignInCodeSent {
        /// Commitment to the address, with the challenge's salt.
        email: Pseudonym,
        /// Code or link.
        method: SignInMethod,
        /// Until when it is good.
        expires_at: Moment,
    }
    /// A one-time code was taken back, since its mail could not be sent.
    SignInChallenge, 1: SignInCodeWithdrawn {
        /// Why.
        reason: CodeWithdrawal,
    }
    /// A one-time code or link was refused.
    SignInChallenge, 1: SignInCodeRefused {
        /// Why.
        reason: CodeRefusal,
        /// Attempts so far, this one included.
        attempts: u32,
    }
}
