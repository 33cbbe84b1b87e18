package main

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

// newLogger makes the one logger of the program, for the libraries too. It drops nothing: an audit needs every line, where controller-runtime's
// own would sample them.
func newLogger(o *options) logr.Logger {
	flags := withDefaults(o.log, o.debug)
	encoder := flags.NewEncoder(func(c *zapcore.EncoderConfig) { c.EncodeTime = flags.TimeEncoder })
	core := zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), flags.Level)
	log := zapr.NewLogger(zap.New(core, zap.AddStacktrace(flags.StacktraceLevel)))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	return log
}

// mostVerbose is the level beyond which client-go logs what it sends and receives: Secrets, among other things.
const mostVerbose zapcore.Level = -5

// withDefaults fills in what the flags of the log leave open.
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
