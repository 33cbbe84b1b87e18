package app

import (
	"os"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlzap "sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// newLogger returns the program's logger, and sets it for the libraries too. It logs every line,
// which an audit needs; controller-runtime's own logger would sample them.
func newLogger(o *options) logr.Logger {
	flags := withDefaults(o.log, o.debug)
	encoder := flags.NewEncoder(func(c *zapcore.EncoderConfig) { c.EncodeTime = flags.TimeEncoder })
	core := zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), flags.Level)
	log := zapr.NewLogger(zap.New(core, zap.AddStacktrace(flags.StacktraceLevel)))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	return log
}

// mostVerbose is the highest verbosity at which client-go does not log the bodies of requests and
// responses, which include Secrets.
const mostVerbose zapcore.Level = -5

// withDefaults sets the options that the logging flags leave unset.
func withDefaults(o ctrlzap.Options, debug bool) ctrlzap.Options {
	level, stacktraces, encoder := zapcore.InfoLevel, zapcore.FatalLevel, jsonEncoder
	if o.Development {
		stacktraces, encoder = zapcore.WarnLevel, consoleEncoder
	}
	if o.Development || debug {
		level = zapcore.DebugLevel
	}
	if o.Level == nil {
		o.Level = level
	}
	if o.StacktraceLevel == nil {
		o.StacktraceLevel = stacktraces
	}
	if o.TimeEncoder == nil {
		o.TimeEncoder = zapcore.RFC3339NanoTimeEncoder
	}
	if o.NewEncoder == nil {
		o.NewEncoder = encoder
	}
	if o.Level.Enabled(mostVerbose - 1) {
		o.Level = mostVerbose
	}
	return o
}

func jsonEncoder(options ...ctrlzap.EncoderConfigOption) zapcore.Encoder {
	return zapcore.NewJSONEncoder(configured(zap.NewProductionEncoderConfig(), options))
}

func consoleEncoder(options ...ctrlzap.EncoderConfigOption) zapcore.Encoder {
	return zapcore.NewConsoleEncoder(configured(zap.NewDevelopmentEncoderConfig(), options))
}

func configured(c zapcore.EncoderConfig, options []ctrlzap.EncoderConfigOption) zapcore.EncoderConfig {
	for _, set := range options {
		set(&c)
	}
	return c
}
