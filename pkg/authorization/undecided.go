package authorization

import "errors"

// UndecidedError is the error of an authorization mode that could not decide. That neither allows
// nor denies the Request: the caller must neither issue credentials nor take any away, and must
// retry.
type UndecidedError struct {
	Subject Subject
	// Role is the ARN of the role.
	Role string
	// Err is the error of the API server or the cache.
	Err error
}

// Error implements error.
func (e *UndecidedError) Error() string {
	return "it is not known whether " + e.Subject.String() + " may assume role " + e.Role + ", and it is asked again: " + e.Err.Error()
}

// Unwrap returns the error of the API server or the cache.
func (e *UndecidedError) Unwrap() error { return e.Err }

// undecided returns the UndecidedError of a Request, joined from the errors of the modes that could
// not decide.
func undecided(r Request, causes ...error) error {
	for i, cause := range causes {
		if known, ok := errors.AsType[*UndecidedError](cause); ok {
			causes[i] = known.Err
		}
	}
	err := causes[0]
	if len(causes) > 1 {
		err = errors.Join(causes...)
	}
	return &UndecidedError{Subject: r.Subject, Role: r.Role.String(), Err: err}
}
